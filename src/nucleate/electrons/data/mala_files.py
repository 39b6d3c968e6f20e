"""Import of snapshots of the MALA project: NumPy arrays of the local density of states with a structure file.

Format: L. Fiedler et al., npj Comput. Mater. 9, 115 (2023), doi 10.1038/s41524-023-01070-z. The engine is Quantum ESPRESSO with other
pseudopotentials, whose data for the free energy are not in the files. Density of states, density, Fermi level and band energy are
available.
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
"""MALA's units in 1/(eV Å³)."""

CONTAINERS = {
    b"PK": "a zip file, such as numpy's .npz",
    b"\x89HDF": "an HDF5 file, such as openPMD's",
    b"{": "a JSON file",
    b"\x1f\x8b": "a gzip file",
}
"""Unsupported containers by their first bytes."""
LONGEST_HEADER = 512
"""Maximum size of a NumPy header in bytes; an array with four axes has about 120."""
_HEADER = re.compile(
    rb"\x93NUMPY[\x01-\x03]\x00(?:..|....)\{\s*'descr': '[<>=|]?[a-zA-Z]\d*', 'fortran_order': (?:True|False), "
    rb"'shape': \((?:\d{1,18}L?,? ?){0,8}\),? ?\}\s*\n",
    re.DOTALL,
)
LARGEST_INFO = 2**24
"""Maximum size of the information file in bytes; it contains the forces on all atoms."""
FEWEST, MOST = 0.75, 1.15
"""Accepted ratio of integrated to expected electrons: the energy window may cut deep levels, smearing adds a few per cent, and wrong units
change the ratio by a factor of two or more."""
NEGATIVE = 0.05
"""Largest accepted negative value relative to the maximum; augmentation charges cause small negative values."""
UNEVEN, EVEN = 1.7, 1.35
"""Ratios of the largest to the smallest grid spacing: above the first a grid is suspicious, below the second it is regular."""


Points = Annotated[int, Field(ge=1, le=10**6)]


class _Info(BaseModel):
    """Fields used from MALA's information file."""

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
    """Read one snapshot.

    Args:
        ldos: Path of a NumPy array (n_1, n_2, n_3, n_energies).
        structure: Path of a pw.x output or any structure file that ASE reads; a `*.info.json` next to it is used if present.
        low: Lowest energy in eV.
        spacing: Energy spacing in eV.
        charges: Number of valence electrons of each element.
        sigma: Width of the Gaussians in eV; default: the spacing.
        temperature: Electronic temperature in K; default: the value in the information file.
        units: Units of the array.

    Returns:
        The snapshot; its details contain a `note` for the user if the units could not be checked.

    Raises:
        BadInput: Files cannot be read or do not match, or the states do not contain the electrons of the structure.
    """
    if units not in UNITS:
        raise BadInput(f"units {quoted(units, 40)} are unknown; choose from {', '.join(UNITS)}")
    width = spacing if sigma is None else sigma
    for name, number in (("spacing", spacing), ("sigma", width), *((f"charge of {symbol}", charge) for symbol, charge in charges.items())):
        if not 0 < number < 1e3:
            raise BadInput(f"{quoted(name, 40)} {number:g}: give a positive number")
    if not abs(low) < 1e4:
        raise BadInput(f"low {low:g} eV: give the lowest energy of the array")
    strange = sorted(symbol for symbol in charges if not atomic_numbers.get(symbol))
    if strange:
        raise BadInput(f"{quoted(', '.join(strange), 40)}: unknown element")
    values = read_array(ldos)
    atoms = read_structure(structure)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(charges))
    if unknown:
        raise BadInput(f"{structure}: give the number of valence electrons of {', '.join(unknown)}, for example --charge {unknown[0]}=2")
    beside = structure.with_suffix(".info.json")
    said = _Info()
    if beside.exists():
        said = stated(_Info, from_json(read_text(beside, LARGEST_INFO), str(beside)), str(beside))
    grid = values.shape[:3]
    if said.grid_dimensions is not None and said.grid_dimensions != grid:
        raise BadInput(f"{ldos}: the grid is {grid}, but {beside.name} states {said.grid_dimensions}; check the order of the axes")
    states = values.reshape(-1, values.shape[3]).mean(axis=0, dtype=np.float64) * abs(np.linalg.det(atoms.cell.array))
    _check_axes(ldos, values.shape, np.linalg.norm(atoms.cell.array, axis=1), float(states.sum() * spacing * UNITS[units]))
    electrons = sum(charges[symbol] for symbol in atoms.get_chemical_symbols())
    known = said.number_of_electrons_exact or said.number_of_electrons
    if known is not None and abs(known - electrons) > 0.01 * electrons:
        raise BadInput(f"{structure}: --charge yields {electrons:g} valence electrons, but {beside.name} states {known:g}")
    electronic = said.temperature if temperature is None else temperature
    if electronic is None:
        raise BadInput(f"{structure}: the electronic temperature is unknown; give --temperature")
    try:
        check_temperature(electronic)
    except BadInput as error:
        raise BadInput(str(error) if temperature is not None else f"{beside}: {error}") from None
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
    """Memory-map the array (n_1, n_2, n_3, n_energies) of a NumPy file.

    Raises:
        BadInput: The file is another container, the header exceeds the file, or values are complex, not finite or negative.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(12 + LONGEST_HEADER)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if not start.startswith(b"\x93NUMPY"):
        kind = next((name for mark, name in CONTAINERS.items() if start.startswith(mark)), "not a NumPy array")
        raise BadInput(f"{path}: is {kind}; save only the array of the local density of states with numpy.save")
    # NumPy evaluates headers with Python's parser, so only headers of plain arrays are passed on.
    if not _HEADER.match(start):
        raise BadInput(f"{path}: cannot be read as a NumPy array: the header is not that of a plain array of numbers")
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False, max_header_size=LONGEST_HEADER)
    except (OSError, ValueError, OverflowError) as error:
        if "mmap length" in str(error):
            raise BadInput(
                f"{path}: the header describes more numbers than the file contains; check whether the file is complete"
            ) from None
        raise BadInput(f"{path}: cannot be read as a NumPy array: {quoted(str(error))}") from None
    if values.dtype.kind != "f":
        raise BadInput(f"{path}: the type is {quoted(str(values.dtype), 30)}; a local density of states must be real floating point")
    if values.ndim != 4 or min(values.shape) < 2:
        raise BadInput(f"{path}: the shape is {quoted(values.shape, 60)}; a local density of states must have (n_1, n_2, n_3, n_energies)")
    if not np.isfinite(values).all():
        raise BadInput(f"{path}: the array contains values that are not finite")
    if values.min() < -NEGATIVE * values.max():
        raise BadInput(f"{path}: the array contains values down to {values.min():.3g}; a density of states must not be negative")
    return values


def _check_axes(path: Path, shape: tuple[int, ...], lengths: np.ndarray, electrons: float) -> None:
    """Raise `BadInput` if the grid spacings are uneven but would be even with another order of the axes."""
    uneven = {order: float(np.ptp(np.log(lengths / np.take(shape, order)))) for order in permutations(range(4), 3)}
    best = min(uneven, key=lambda order: uneven[order])
    if uneven[(0, 1, 2)] > np.log(UNEVEN) and uneven[best] < np.log(EVEN):
        fits = " x ".join(str(shape[k]) for k in best)
        raise BadInput(
            f"{path}: axes {shape}: {fits} points match the cell, the first three do not (all states contain {electrons:.4g} electrons); "
            "give (n_1, n_2, n_3, n_energies)"
        )


def _count(
    path: Path, energies: np.ndarray, states: np.ndarray, units: str, electrons: float, fermi: float | None, temperature: float
) -> str | None:
    """Compare the electrons in the states with those of the structure; return a note if the Fermi level is unknown.

    Levels below the lowest energy are not in the array, so electrons may be missing, but there is no large excess.
    """
    if fermi is None:
        held = {name: float(states.sum() * (energies[1] - energies[0]) * factor) for name, factor in UNITS.items()}
        if held[units] >= FEWEST * electrons:
            return f"{path}: the Fermi level is unknown, so the units are not checked; all states contain {held[units]:.4g} electrons"
        what = "all states contain"
    else:
        if not energies[0] < fermi < energies[-1]:
            raise BadInput(
                f"{path}: the energies {energies[0]:g} to {energies[-1]:g} eV do not include the Fermi level, {fermi:g} eV; check --low, "
                "--spacing and the order of the axes"
            )
        weights = occupation(torch.tensor(energies), torch.tensor(fermi, dtype=torch.float64), temperature).number.numpy()
        held = {name: float(weights @ states * factor) for name, factor in UNITS.items()}
        if FEWEST * electrons <= held[units] <= MOST * electrons:
            return None
        what = "the states below the Fermi level contain"
    fitting = [name for name, number in held.items() if FEWEST * electrons <= number and (fermi is None or number <= MOST * electrons)]
    advice = (
        f"in {fitting[0]} they would contain {held[fitting[0]]:.4g}: check --units"
        if fitting
        else "check --units, --low, --spacing and --charge"
    )
    raise BadInput(f"{path}: {what} {held[units]:.4g} electrons, but the structure has {electrons:g}; {advice}")
