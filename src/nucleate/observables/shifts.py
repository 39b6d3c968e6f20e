"""Measured chemical shifts, and how well the shieldings of a crystal explain them.

A shift is a linear function of the shielding, delta = offset + slope * sigma with a slope near -1. Slope and offset of an element are given
or fitted for each crystal. Every symmetry-inequivalent site has one shift, and sites are assigned to the measured shifts so that the sum of
squares is smallest, with SciPy's solver (D. F. Crouse, IEEE Trans. Aerosp. Electron. Syst. 52, 1679 (2016), doi 10.1109/TAES.2016.140952).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spglib
from ase.data import atomic_numbers
from scipy.optimize import linear_sum_assignment

from nucleate.errors import BadInput, quoted
from nucleate.observables.magres import Shieldings
from nucleate.persist.text import read_text

ERRORS = {"H": 0.4, "C": 2.2, "N": 5.4, "O": 7.2}
"""Root-mean-square errors of shifts from GIPAW-PBE shieldings of molecular crystals, ppm: J. D. Hartman, R. A. Kudla, G. M. Day,
L. J. Mueller and G. J. O. Beran, Phys. Chem. Chem. Phys. 18, 21686 (2016), doi 10.1039/C6CP01831A."""
STEEPEST, FLATTEST = -1.15, -0.85
"""Range of a fitted slope."""
SYMPREC = 0.1
"""Tolerance within which atoms are averaged as symmetry-equivalent, Å."""
LARGEST = 2**20
MOST = 2000
"""Largest number of shifts in a file."""
COLUMNS = ("nucleus", "shift", "multiplicity", "label")


@dataclass(frozen=True)
class Shift:
    """A measured isotropic chemical shift.

    Attributes:
        element: symbol of the element.
        shift: shift, ppm.
        multiplicity: number of inequivalent sites that have this shift; None: unknown.
        label: name of the signal.
    """

    element: str
    shift: float
    multiplicity: int | None = None
    label: str = ""


@dataclass(frozen=True)
class ShiftReference:
    """Linear relation between shielding and shift, `offset + slope * shielding`, ppm."""

    slope: float
    offset: float


@dataclass(frozen=True)
class Assigned:
    """Shifts of an element assigned to the sites of a crystal.

    Attributes:
        element: symbol of the element.
        reference: slope and offset.
        measured: (m,) measured shift of each pair of shift and site, ppm.
        predicted: (m,) shift from the shielding of the site, ppm.
        sigma: standard error of a predicted shift, ppm.
    """

    element: str
    reference: ShiftReference
    measured: np.ndarray
    predicted: np.ndarray
    sigma: float

    @property
    def chi2(self) -> float:
        """Sum of squared deviations in units of the standard error."""
        return float((((self.measured - self.predicted) / self.sigma) ** 2).sum())

    @property
    def rms(self) -> float:
        """Root-mean-square deviation, ppm."""
        return float(np.sqrt(((self.measured - self.predicted) ** 2).mean()))


def read_shifts(path: Path) -> list[Shift]:
    """Read chemical shifts from a CSV file with a header that names its columns: nucleus, shift, and optionally multiplicity and label.

    A nucleus is an element or isotope, such as C, 13C or H.

    Raises:
        BadInput: the file does not exist, has no such header, or a line is not valid.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a CSV file with the columns nucleus and shift")
    try:
        rows = list(csv.reader(read_text(path, LARGEST).splitlines(), skipinitialspace=True))
    except csv.Error as error:
        raise BadInput(f"{path}: cannot be read as CSV ({quoted(str(error))})") from None
    rows = [[cell.strip() for cell in row] for row in rows]
    numbered = [(number, row) for number, row in enumerate(rows, 1) if any(row) and not row[0].startswith("#")]
    names = [name.lower().replace("element", "nucleus") for name in numbered[0][1]] if numbered else []
    if not {"nucleus", "shift"} <= set(names) or len(set(names)) < len(names) or not set(names) <= set(COLUMNS):
        first = quoted(",".join(numbered[0][1]), 60) if numbered else "nothing"
        raise BadInput(
            f"{path}: the first line is {first!r}; it must name the columns {', '.join(COLUMNS)}, of which the first two are needed"
        )
    for number, row in numbered[1:]:
        if len(row) > len(names):
            raise BadInput(f"{path}: line {number}: has {len(row)} cells, but the first line names {len(names)} columns")
    shifts = [_shift(dict(zip(names, row, strict=False)), f"{path}: line {number}") for number, row in numbered[1:]]
    if not 1 <= len(shifts) <= MOST:
        raise BadInput(f"{path}: has {len(shifts)} shifts; 1 to {MOST} can be read")
    return shifts


def _shift(row: Mapping[str, str], where: str) -> Shift:
    element = element_of(row["nucleus"], where)
    try:
        value = float(row.get("shift", ""))
    except ValueError:
        value = math.nan
    if not abs(value) < 1e5:
        raise BadInput(f"{where}: the shift is {quoted(row.get('shift', ''), 30)!r}; give a number in ppm")
    text = row.get("multiplicity", "")
    if text and not re.fullmatch("[1-9][0-9]{0,2}", text):
        raise BadInput(f"{where}: the multiplicity is {quoted(text, 30)!r}; give a positive whole number, or leave it empty")
    return Shift(element, value, int(text) if text else None, row.get("label", ""))


def element_of(nucleus: str, where: str) -> str:
    """Return the element of a nucleus such as C or 13C.

    Raises:
        BadInput: the text is not an element with an optional mass number.
    """
    match = re.fullmatch(r"([0-9]{0,3})-?([A-Za-z]{1,2})", nucleus)
    symbol = match[2].capitalize() if match else ""
    if symbol not in atomic_numbers or symbol == "X":
        raise BadInput(f"{where}: {quoted(nucleus, 30)!r} is not a nucleus; give an element or isotope such as C or 13C")
    return symbol


def site_shieldings(shieldings: Shieldings, element: str, symprec: float = SYMPREC) -> np.ndarray:
    """Return the isotropic shieldings (s,) of the inequivalent sites of an element, averaged over equivalent atoms, ppm.

    Raises:
        BadInput: the crystal has no such element, or one of its atoms has no shielding.
    """
    atoms = shieldings.atoms
    own = np.array(atoms.get_chemical_symbols()) == element
    if not own.any():
        raise BadInput(f"{atoms.get_chemical_formula()}: contains no {element}, of which shifts are given")
    values = shieldings.isotropic
    if not np.isfinite(values[own]).all():
        raise BadInput(f"{atoms.get_chemical_formula()}: {int((~np.isfinite(values[own])).sum())} atoms of {element} have no shielding")
    dataset = spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)
    orbits = np.arange(len(atoms)) if dataset is None else dataset.crystallographic_orbits
    _, site = np.unique(orbits[own], return_inverse=True)
    mean: np.ndarray = np.bincount(site, values[own]) / np.bincount(site)
    return mean


def assign(
    shifts: list[Shift],
    shieldings: Shieldings,
    references: Mapping[str, ShiftReference] | None = None,
    errors: Mapping[str, float] | None = None,
) -> list[Assigned]:
    """Assign measured shifts to the sites of a crystal, for each element of which shifts are given.

    A shift with a multiplicity is that of as many sites. If a crystal has more sites than that, each remaining site takes the nearest
    shift, and if it has fewer, each remaining shift takes the nearest site, so that every shift and every site is compared.

    Args:
        shifts: measured shifts.
        shieldings: shieldings of the crystal.
        references: slope and offset of elements; those of the others are fitted.
        errors: standard errors of predicted shifts in ppm, which replace `ERRORS`.

    Raises:
        BadInput: an element without a standard error, or without shieldings, see `site_shieldings`.
    """
    known = {**ERRORS, **(errors or {})}
    result = []
    for element in sorted({shift.element for shift in shifts}):
        if element not in known:
            raise BadInput(f"{element}: no standard error of predicted shifts is known; give it with --nmr-error {element}=PPM")
        own = [shift for shift in shifts if shift.element == element]
        measured = np.repeat([shift.shift for shift in own], [shift.multiplicity or 1 for shift in own])
        sites = site_shieldings(shieldings, element)
        given = (references or {}).get(element)
        result.append(_assign_element(element, measured, sites, given, known[element]))
    return result


def _assign_element(element: str, measured: np.ndarray, sites: np.ndarray, given: ShiftReference | None, sigma: float) -> Assigned:
    """Assign the shifts of one element, alternating with the fit of the reference if none is given."""
    # The medians agree before any assignment, so that the first one is that of the shapes of the two lists.
    reference = given or ShiftReference(-1.0, float(np.median(measured) + np.median(sites)))
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(50):
        predicted = reference.offset + reference.slope * sites
        new = _pairs(measured, predicted)
        if pairs is not None and all(np.array_equal(a, b) for a, b in zip(pairs, new, strict=True)):
            break
        pairs = new
        if given is None:
            reference = fit_reference(sites[pairs[1]], measured[pairs[0]])
    assert pairs is not None
    return Assigned(element, reference, measured[pairs[0]], reference.offset + reference.slope * sites[pairs[1]], sigma)


def _pairs(measured: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the shifts and sites of all pairs, each shift and each site at least once."""
    cost = (measured[:, None] - predicted) ** 2
    rows, columns = linear_sum_assignment(cost)
    left_rows = np.setdiff1d(np.arange(len(measured)), rows)
    left_columns = np.setdiff1d(np.arange(len(predicted)), columns)
    rows = np.concatenate([rows, left_rows, cost[:, left_columns].argmin(0)])
    columns = np.concatenate([columns, cost[left_rows].argmin(1), left_columns])
    order = np.lexsort((columns, rows))
    return rows[order].astype(int), columns[order].astype(int)


def fit_reference(shieldings: np.ndarray, shifts: np.ndarray) -> ShiftReference:
    """Return the least-squares line through pairs (m,) of shieldings and shifts in ppm, with a slope between `STEEPEST` and `FLATTEST`."""
    spread = shieldings - shieldings.mean()
    variance = float(spread @ spread)
    slope = float(spread @ shifts) / variance if variance > 1e-12 else -1.0
    slope = min(max(slope, STEEPEST), FLATTEST)
    return ShiftReference(slope, float(shifts.mean() - slope * shieldings.mean()))
