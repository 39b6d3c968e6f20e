"""Snapshots of the MALA project: numpy arrays of the local density of states beside a structure file.

Format: L. Fiedler et al., npj Comput. Mater. 9, 115 (2023), doi 10.1038/s41524-023-01070-z. The engine was Quantum ESPRESSO with another
pseudopotential: what the free energy needs of it is not in the files. Density of states, density, Fermi level and band energy are.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from nucleate.crystals.io import read_structure
from nucleate.electrons.constants import BOHR, HARTREE
from nucleate.electrons.ground_state import Snapshot
from nucleate.electrons.species import Ion
from nucleate.electrons.terms.occupation import check_temperature
from nucleate.errors import BadInput

UNITS = {"1/(eV*A^3)": 1.0, "1/(eV*Bohr^3)": BOHR**-3, "1/(Ry*Bohr^3)": 2 / HARTREE * BOHR**-3}
"""What MALA calls its units, in 1/(eV Å³)."""


def read_mala(
    ldos: Path,
    structure: Path,
    low: float,
    spacing: float,
    charges: dict[str, float],
    sigma: float | None = None,
    temperature: float | None = None,
    units: str = "1/(eV*A^3)",
) -> Snapshot:
    """One snapshot.

    Args:
        ldos: numpy array (n_1, n_2, n_3, n_energies).
        structure: pw.x output or any structure that ASE reads; `*.info.json` beside it is used where it is.
        low: first energy, eV.
        spacing: of the energies, eV.
        charges: valence electrons of each element.
        sigma: width of the Gaussians, eV; unset: the spacing.
        temperature: of the electrons, K; unset: that of the information beside the structure.
        units: of the array.

    Raises:
        BadInput: files that cannot be read or do not fit each other.
    """
    if units not in UNITS:
        raise BadInput(f"units {units!r} are unknown; known: {', '.join(UNITS)}")
    try:
        values = np.load(ldos, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{ldos}: cannot be read as a numpy array: {error}") from None
    if values.ndim != 4 or min(values.shape) < 2:
        raise BadInput(f"{ldos}: has shape {values.shape}; a local density of states has (n_1, n_2, n_3, n_energies)")
    if not np.isfinite(values).all():
        raise BadInput(f"{ldos}: holds numbers that are not finite")
    atoms = read_structure(structure)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(charges))
    if unknown:
        raise BadInput(f"{structure}: say how many valence electrons {', '.join(unknown)} has, as in --charge {unknown[0]}=2")
    beside = structure.with_suffix(".info.json")
    try:
        said = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    except ValueError as error:
        raise BadInput(f"{beside}: is not JSON ({error}); mend it or move it away") from None
    if "grid_dimensions" in said and tuple(said["grid_dimensions"]) != values.shape[:3]:
        raise BadInput(f"{ldos}: has a grid of {values.shape[:3]}; {beside.name} says {tuple(said['grid_dimensions'])}")
    electronic = said.get("temperature") if temperature is None else temperature
    if electronic is None:
        raise BadInput(f"{structure}: no temperature beside it; give the electrons' with --temperature")
    check_temperature(electronic)
    width = spacing if sigma is None else sigma
    for name, number in (("spacing", spacing), ("sigma", width), *((f"charge of {symbol}", charge) for symbol, charge in charges.items())):
        if not 0 < number < float("inf"):
            raise BadInput(f"{name} {number:g}: give a positive number")
    strange = sorted(set(charges) - set(atomic_numbers))
    if strange:
        raise BadInput(f"{', '.join(strange)}: no such element")
    values = (values * UNITS[units]).astype(np.float32)
    atoms.calc = None
    return Snapshot(
        atoms=atoms,
        energies=low + spacing * np.arange(values.shape[3]),
        ldos=values,
        density=None,
        sigma=width,
        temperature=electronic,
        fermi_level=said.get("fermi_energy_dft"),
        terms={"band": said["band_energy_dft_calculation"]} if "band_energy_dft_calculation" in said else {},
        ions={symbol: Ion(symbol, charge, 0.0) for symbol, charge in charges.items()},
        engine={"engine": "mala", "functional": "unknown", "pseudopotential": "unknown"},
        details={"file": ldos.name},
    )
