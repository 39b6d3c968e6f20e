"""Snapshots of the MALA project: numpy arrays of the local density of states beside a structure file.

Format: L. Fiedler et al., npj Comput. Mater. 9, 115 (2023), doi 10.1038/s41524-023-01070-z. The engine was Quantum ESPRESSO with another
pseudopotential: what the free energy needs of it is not in the files. Density of states, density, Fermi level and band energy are.
"""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field

from nucleate.crystals.io import read_structure
from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.levels.occupation import check_temperature, occupation
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput, quoted
from nucleate.persist.text import from_json, read_text, stated
from nucleate.units import BOHR, HARTREE

UNITS = {"1/(eV*A^3)": 1.0, "1/(eV*Bohr^3)": BOHR**-3, "1/(Ry*Bohr^3)": 2 / HARTREE * BOHR**-3}
"""What MALA calls its units, in 1/(eV Å³)."""

CONTAINERS = {
    b"PK": "a zip file, such as numpy's .npz",
    b"\x89HDF": "an HDF5 file, such as openPMD's",
    b"{": "a JSON file",
    b"\x1f\x8b": "a gzip file",
}
"""Other files that a local density of states comes in, by how they begin."""
LONGEST_HEADER = 512
"""Bytes of a numpy header; one of four axes has some 120."""
_HEADER = re.compile(
    rb"\x93NUMPY[\x01-\x03]\x00(?:..|....)\{\s*'descr': '[<>=|]?[a-zA-Z]\d*', 'fortran_order': (?:True|False), "
    rb"'shape': \((?:\d{1,18}L?,? ?){0,8}\),? ?\}\s*\n",
    re.DOTALL,
)
LARGEST_INFO = 2**24
"""Bytes of the information beside a structure; it holds the forces on every atom."""
FEWEST, MOST = 0.75, 1.15
"""Share of the structure's electrons that states below the Fermi level hold: a window of energies may cut deep levels, smearing adds a few
per cent, and units differ by factors of two and more."""
NEGATIVE = 0.05
"""Share of the largest number that numbers below zero may reach: augmentation charges leave some."""
UNEVEN, EVEN = 1.7, 1.35
"""Ratios of the largest to the smallest spacing of a grid: beyond the one it is suspicious, below the other it is as programs choose it."""


Points = Annotated[int, Field(ge=1, le=10**6)]


class _Info(BaseModel):
    """What of MALA's information is used; it holds much more."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    grid_dimensions: tuple[Points, Points, Points] | None = None
    temperature: float | None = None
    fermi_energy_dft: float | None = Field(None, ge=-1e4, le=1e4)
    band_energy_dft_calculation: float | None = None
    number_of_electrons_exact: float | None = Field(None, gt=0)
    number_of_electrons: float | None = Field(None, gt=0)


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

    Returns:
        The snapshot; its details hold a `note` for the user where its units could not be checked.

    Raises:
        BadInput: files that cannot be read or do not fit each other, states that do not hold the electrons of the structure.
    """
    if units not in UNITS:
        raise BadInput(f"units {quoted(units, 40)} are unknown; known: {', '.join(UNITS)}")
    width = spacing if sigma is None else sigma
    for name, number in (("spacing", spacing), ("sigma", width), *((f"charge of {symbol}", charge) for symbol, charge in charges.items())):
        if not 0 < number < 1e3:
            raise BadInput(f"{quoted(name, 40)} {number:g}: give a positive number")
    if not abs(low) < 1e4:
        raise BadInput(f"low {low:g} eV: give the first energy of the array")
    strange = sorted(symbol for symbol in charges if not atomic_numbers.get(symbol))
    if strange:
        raise BadInput(f"{quoted(', '.join(strange), 40)}: no such element")
    values = read_array(ldos)
    atoms = read_structure(structure)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(charges))
    if unknown:
        raise BadInput(f"{structure}: say how many valence electrons {', '.join(unknown)} has, as in --charge {unknown[0]}=2")
    beside = structure.with_suffix(".info.json")
    said = _Info()
    if beside.exists():
        said = stated(_Info, from_json(read_text(beside, LARGEST_INFO), str(beside)), str(beside))
    grid = values.shape[:3]
    if said.grid_dimensions is not None and said.grid_dimensions != grid:
        raise BadInput(f"{ldos}: has a grid of {grid}; {beside.name} says {said.grid_dimensions}; check the order of its axes")
    states = values.reshape(-1, values.shape[3]).mean(axis=0, dtype=np.float64) * abs(np.linalg.det(atoms.cell.array))
    _check_axes(ldos, values.shape, np.linalg.norm(atoms.cell.array, axis=1), float(states.sum() * spacing * UNITS[units]))
    electrons = sum(charges[symbol] for symbol in atoms.get_chemical_symbols())
    known = said.number_of_electrons_exact or said.number_of_electrons
    if known is not None and abs(known - electrons) > 0.01 * electrons:
        raise BadInput(f"{structure}: has {electrons:g} valence electrons by --charge, {known:g} by {beside.name}")
    electronic = said.temperature if temperature is None else temperature
    if electronic is None:
        raise BadInput(f"{structure}: no temperature beside it; give the electrons' with --temperature")
    check_temperature(electronic)
    energies = low + spacing * np.arange(values.shape[3])
    note = _count(ldos, energies, states, units, electrons, said.fermi_energy_dft, electronic)
    atoms.calc = None
    return Snapshot(
        atoms=atoms,
        energies=energies,
        ldos=(values * UNITS[units]).astype(np.float32),
        density=None,
        sigma=width,
        temperature=electronic,
        fermi_level=said.fermi_energy_dft,
        terms={} if said.band_energy_dft_calculation is None else {"band": said.band_energy_dft_calculation},
        ions={symbol: Ion(symbol, charge, 0.0) for symbol, charge in charges.items()},
        engine={"engine": "mala", "functional": "unknown", "pseudopotential": "unknown"},
        details={"file": ldos.name, **({} if note is None else {"note": note})},
    )


def read_array(path: Path) -> np.ndarray:
    """(n_1, n_2, n_3, n_energies) of a numpy file, mapped: nothing of its size is allocated.

    Raises:
        BadInput: another container, a header that asks for more than the file holds, numbers that are complex, not finite or below zero.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(12 + LONGEST_HEADER)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if not start.startswith(b"\x93NUMPY"):
        kind = next((name for mark, name in CONTAINERS.items() if start.startswith(mark)), "no numpy array")
        raise BadInput(f"{path}: is {kind}; save the array of the local density of states alone, with numpy.save")
    # numpy runs a header through Python's parser, which has errors of its own: only what numpy writes for plain arrays gets there.
    if not _HEADER.match(start):
        raise BadInput(f"{path}: cannot be read as a numpy array: its header is not that of a plain array of numbers")
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=LONGEST_HEADER)
    except (OSError, ValueError, OverflowError) as error:
        if "mmap length" in str(error):
            raise BadInput(f"{path}: its header asks for more numbers than the file holds; is the file complete?") from None
        raise BadInput(f"{path}: cannot be read as a numpy array: {quoted(str(error))}") from None
    if values.dtype.kind != "f":
        raise BadInput(f"{path}: holds {quoted(str(values.dtype), 30)}; a local density of states is real, of floating point")
    if values.ndim != 4 or min(values.shape) < 2:
        raise BadInput(f"{path}: has shape {quoted(values.shape, 60)}; a local density of states has (n_1, n_2, n_3, n_energies)")
    if not np.isfinite(values).all():
        raise BadInput(f"{path}: holds numbers that are not finite")
    if values.min() < -NEGATIVE * values.max():
        raise BadInput(f"{path}: holds numbers down to {values.min():.3g}; a density of states is not negative")
    return values


def _check_axes(path: Path, shape: tuple[int, ...], lengths: np.ndarray, electrons: float) -> None:
    """Raise `BadInput` where a grid is uneven and would be even with its axes in another order."""
    uneven = {order: float(np.ptp(np.log(lengths / np.take(shape, order)))) for order in permutations(range(4), 3)}
    best = min(uneven, key=lambda order: uneven[order])
    if uneven[(0, 1, 2)] > np.log(UNEVEN) and uneven[best] < np.log(EVEN):
        fits = " x ".join(str(shape[k]) for k in best)
        raise BadInput(
            f"{path}: axes {shape}: {fits} points fit the cell, the first three do not (all states now hold {electrons:.4g} electrons); "
            "give (n_1, n_2, n_3, n_energies)"
        )


def _count(
    path: Path, energies: np.ndarray, states: np.ndarray, units: str, electrons: float, fermi: float | None, temperature: float
) -> str | None:
    """Compare the electrons in the states with those of the structure; a note where there is no Fermi level to count up to.

    Levels below the first energy are not in the array, so that some of the electrons may be missing; there are never many more.
    """
    if fermi is None:
        held = {name: float(states.sum() * (energies[1] - energies[0]) * factor) for name, factor in UNITS.items()}
        if held[units] >= FEWEST * electrons:
            return f"{path}: no Fermi level beside the structure: units are not checked; all states hold {held[units]:.4g} electrons"
        what = "all its states hold"
    else:
        if not energies[0] < fermi < energies[-1]:
            raise BadInput(
                f"{path}: its energies, {energies[0]:g} to {energies[-1]:g} eV, do not hold the Fermi level, {fermi:g} eV; check --low, "
                "--spacing and the order of its axes"
            )
        weights = occupation(torch.tensor(energies), torch.tensor(fermi, dtype=torch.float64), temperature).number.numpy()
        held = {name: float(weights @ states * factor) for name, factor in UNITS.items()}
        if FEWEST * electrons <= held[units] <= MOST * electrons:
            return None
        what = "its states below the Fermi level hold"
    fitting = [name for name, number in held.items() if FEWEST * electrons <= number and (fermi is None or number <= MOST * electrons)]
    advice = (
        f"in {fitting[0]} they would hold {held[fitting[0]]:.4g}: give --units"
        if fitting
        else "check --units, --low, --spacing and --charge"
    )
    raise BadInput(f"{path}: {what} {held[units]:.4g} electrons, the structure has {electrons:g}; {advice}")
