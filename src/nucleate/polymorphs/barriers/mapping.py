"""Mappings between two crystals: a common cell, and the atom of one crystal that each atom of the other becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from scipy.linalg import polar
from scipy.optimize import linear_sum_assignment

from nucleate.errors import BadInput
from nucleate.polymorphs.barriers.lattices import Correspondence, correspondences
from nucleate.polymorphs.barriers.settings import MOST_ATOMS
from nucleate.polymorphs.stability.supercells import composition

_IMAGES = np.array(list(product((-1, 0, 1), repeat=3)), dtype=float)
_FORBIDDEN = 1e6
"""Cost of assigning atoms of different elements, Å²."""
_EACH = 3
"""Number of assignments that are kept for each correspondence of lattices."""


@dataclass(frozen=True)
class Mapping:
    """Two crystals in a common cell; atom k of `start` becomes atom k of `end`.

    Attributes:
        start: the first crystal.
        end: the second crystal, turned so that its cell is that of `start` times a symmetric matrix; its atoms are not
            wrapped into the cell.
        strain: (3,) principal logarithmic strains, ascending.
        displacement: root mean square displacement of the atoms without the strain, Å.
    """

    start: Atoms
    end: Atoms
    strain: np.ndarray
    displacement: float

    @property
    def norm(self) -> float:
        """Norm of the logarithmic strain."""
        return float(np.linalg.norm(self.strain))

    @property
    def cost(self) -> float:
        """Length of the straight path per square root of the number of atoms, Å.

        Strain is made a length by the Jacobian of Sheppard et al., see `bands`; the cost does not depend on the size of the cell.
        """
        volume = math.sqrt(self.start.get_volume() * self.end.get_volume()) / len(self.start)
        return math.hypot(volume ** (1 / 3) * self.norm, self.displacement)


def common_sizes(first: Atoms, second: Atoms, atoms: int) -> list[int]:
    """Return the numbers of atoms of common cells: the multiples of the smallest up to `atoms`, and at least the smallest.

    Raises:
        BadInput: the crystals have different compositions, or the smallest common cell has more than `MOST_ATOMS` atoms.
    """
    if composition(first) != composition(second):
        formulas = (str(each.symbols.get_chemical_formula("metal", empirical=True)) for each in (first, second))
        raise BadInput(f"{' and '.join(formulas)} have different compositions; give polymorphs of one compound")
    smallest = math.lcm(len(first), len(second))
    if smallest > MOST_ATOMS:
        raise BadInput(
            f"the smallest common cell of {len(first)} and {len(second)} atoms has {smallest} atoms, more than {MOST_ATOMS}; "
            "choose polymorphs with smaller primitive cells"
        )
    return list(range(smallest, max(atoms, smallest) + 1, smallest))


def mappings(first: Atoms, second: Atoms, atoms: int, count: int) -> list[Mapping]:
    """Return the mappings of lowest cost between two crystals.

    Args:
        first, second: primitive cells.
        atoms: largest number of atoms in a common cell, unless the smallest common cell has more.
        count: number of mappings.

    Returns:
        At most `count` mappings with different strains or displacements, the lowest cost first.

    Raises:
        BadInput: see `common_sizes`.
    """
    found: list[Mapping] = []
    for size in common_sizes(first, second, atoms):
        for pair in correspondences(first, second, size):
            found += _assigned(first, second, pair)
    found.sort(key=lambda item: (round(item.cost, 4), len(item.start)))
    result: list[Mapping] = []
    seen: set[tuple[float, ...]] = set()
    for item in found:
        # A mapping in a supercell that repeats one of a smaller cell has the same strain and displacement.
        key = (*np.round(item.strain, 3).tolist(), round(item.displacement, 2))
        if key not in seen:
            seen.add(key)
            result.append(item)
    return result[:count]


def _assigned(first: Atoms, second: Atoms, pair: Correspondence) -> list[Mapping]:
    """Return the best assignments of atoms for a correspondence of lattices."""
    start, target = make_supercell(first, pair.first), make_supercell(second, pair.second)
    cell = start.cell.array
    # Row vectors are multiplied from the right, so the symmetric factor comes first and the rotation is removed from the end.
    _, stretch = polar(np.linalg.inv(cell) @ target.cell.array, side="left")
    values, axes = np.linalg.eigh(stretch)
    middle = cell @ (axes * np.sqrt(values)) @ axes.T
    a, b = start.get_scaled_positions(), target.get_scaled_positions()
    found: dict[float, tuple[float, np.ndarray]] = {}
    for shift in _translations(start, target, a, b):
        moved, displacement = _assignment(a, b + shift, start.numbers, target.numbers, middle)
        rms = float(np.sqrt((displacement**2).sum(axis=1).mean()))
        found.setdefault(round(rms, 3), (rms, moved))
    result = []
    for _, (rms, moved) in sorted(found.items())[:_EACH]:
        end = start.copy()
        end.set_cell(cell @ stretch)
        end.positions = moved @ end.cell.array
        result.append(Mapping(start, end, pair.strain, rms))
    return result


def _translations(start: Atoms, target: Atoms, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the (n, 3) translations that put an atom of the rarest element of the second crystal onto one of the first, fractional."""
    kinds, counts = np.unique(start.numbers, return_counts=True)
    rarest = kinds[counts.argmin()]
    shifts: np.ndarray = a[np.flatnonzero(start.numbers == rarest)[0]] - b[target.numbers == rarest]
    return shifts


def _assignment(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Assign atoms by the least sum of squared distances, and optimise the translation.

    The assignment is that of H. W. Kuhn, Naval Res. Logist. Q. 2, 83 (1955), doi 10.1002/nav.3800020109, as implemented in SciPy.

    Args:
        a, b: (n, 3) fractional coordinates of both crystals.
        of_a, of_b: (n,) atomic numbers.
        cell: (3, 3) cell in which distances are measured, Å.

    Returns:
        The (n, 3) fractional coordinates of the second crystal in the order of the first and nearest to it, and the (n, 3) displacements
        in Å.
    """
    unlike = _FORBIDDEN * (of_a[:, None] != of_b[None])
    previous = None
    while True:
        apart = b[None] - a[:, None]
        apart -= np.rint(apart)
        every = apart[:, :, None] + _IMAGES
        squares = ((every @ cell) ** 2).sum(axis=-1)
        nearest = squares.argmin(axis=2)
        order = linear_sum_assignment(squares.min(axis=2) + unlike)[1]
        rows = np.arange(len(a))
        fractional = every[rows, order, nearest[rows, order]]
        mean = fractional.mean(axis=0)
        total = float((((fractional - mean) @ cell) ** 2).sum())
        # Each step lowers the sum of squares: the mean displacement minimises it for the assignment, and the assignment for the mean.
        if previous is not None and total >= previous - 1e-9:
            return a + fractional - mean, (fractional - mean) @ cell
        previous = total
        b = b - mean
