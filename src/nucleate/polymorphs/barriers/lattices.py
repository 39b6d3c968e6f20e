"""Common lattices of two crystals: sublattices, and the correspondences of lattice vectors with the smallest strains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import minkowski_reduce

KEPT = 40
"""Number of correspondences of lattice vectors that are kept for each number of atoms."""
MOST_STRAIN = 0.8
"""Largest principal logarithmic strain of a correspondence."""
_CODE = 41 ** np.arange(9, dtype=np.int64)


@dataclass(frozen=True)
class Correspondence:
    """Lattice vectors of two crystals that correspond to each other.

    Attributes:
        first, second: (3, 3) integers, rows in units of the lattice vectors of each crystal.
        strain: (3,) principal logarithmic strains from the first cell to the second, ascending.
    """

    first: np.ndarray
    second: np.ndarray
    strain: np.ndarray

    @property
    def norm(self) -> float:
        """Norm of the logarithmic strain."""
        return float(np.linalg.norm(self.strain))


@lru_cache(maxsize=1)
def unimodular() -> np.ndarray:
    """Return the (n, 3, 3) integer matrices with entries -1, 0, 1 and determinant 1, which change the vectors of a reduced cell."""
    every = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    chosen: np.ndarray = every[np.rint(np.linalg.det(every)) == 1]
    return chosen


def rotations(atoms: Atoms, symprec: float = 1e-3) -> np.ndarray:
    """Return the (n, 3, 3) proper rotations of a crystal, for rows of fractional coordinates; only the identity if spglib fails."""
    found = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec)
    if found is None:
        return np.eye(3, dtype=int)[None]
    every = np.unique(found["rotations"].transpose(0, 2, 1), axis=0)
    proper: np.ndarray = every[np.rint(np.linalg.det(every)) == 1]
    return proper


def sublattices(index: int, operations: np.ndarray) -> list[np.ndarray]:
    """Return the sublattices of an index that the operations do not turn into each other.

    The sublattices are enumerated by Hermite normal forms: G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008),
    doi 10.1103/PhysRevB.77.224115.

    Args:
        index: volume of the cell of the sublattice in units of that of the lattice.
        operations: (n, 3, 3) rotations, for rows of fractional coordinates.

    Returns:
        (3, 3) integers, rows in units of the lattice vectors.
    """
    forms = np.array(
        [
            [[a, 0, 0], [b, c, 0], [d, e, index // (a * c)]]
            for a in range(1, index + 1) if index % a == 0
            for c in range(1, index // a + 1) if (index // a) % c == 0
            for b in range(a) for d in range(a) for e in range(c)
        ]
    )  # fmt: skip
    inverses = np.linalg.inv(forms)
    waiting = np.ones(len(forms), dtype=bool)
    result = []
    for k, form in enumerate(forms):
        if waiting[k]:
            result.append(form)
            ratio = (form @ operations)[:, None] @ inverses
            waiting &= ~(np.abs(ratio - np.rint(ratio)).max(axis=(2, 3)) < 1e-6).any(axis=0)
    return result


def correspondences(first: Atoms, second: Atoms, atoms: int) -> list[Correspondence]:
    """Return the correspondences of smallest strain between two crystals, in cells with a number of atoms.

    Rotations have no effect on the strain. Of correspondences that symmetry turns into each other one is kept.

    Args:
        first, second: primitive cells.
        atoms: number of atoms in the common cell, a multiple of those of both crystals.

    Returns:
        At most `KEPT` correspondences, the smallest strain first.
    """
    turns = rotations(first), rotations(second)
    own = [_reduced(first, form) for form in sublattices(atoms // len(first), turns[0])]
    other = [_reduced(second, form) for form in sublattices(atoms // len(second), turns[1])]
    found: list[tuple[float, int, int, int, np.ndarray]] = []
    for i, (_, cell) in enumerate(own):
        inverse = np.linalg.inv(cell)
        for j, (_, target) in enumerate(other):
            gradient = inverse @ unimodular() @ target
            square = gradient @ gradient.transpose(0, 2, 1)
            near = np.flatnonzero(np.trace(square, axis1=1, axis2=2) < 3 * np.exp(2 * MOST_STRAIN))
            strains = 0.5 * np.log(np.linalg.eigvalsh(square[near]))
            norms = np.linalg.norm(strains, axis=1)
            # Every correspondence appears at most once for each pair of rotations.
            best = np.argsort(norms, kind="stable")[: KEPT * len(turns[0]) * len(turns[1])]
            best = best[np.abs(strains[best]).max(axis=1) < MOST_STRAIN]
            found += [(float(norms[k]), i, j, int(near[k]), strains[k]) for k in best]
    found.sort(key=lambda item: item[:4])
    inner = [[_in_basis(turns[side], form) for form, _ in cells] for side, cells in enumerate((own, other))]
    seen: set[tuple[int, int, int]] = set()
    result: list[Correspondence] = []
    for _, i, j, k, strain in found:
        matrix = unimodular()[k]
        orbit = (inner[0][i][:, None] @ matrix @ inner[1][j][None]).reshape(-1, 9)
        key = (i, j, int((orbit @ _CODE).min()))
        if key not in seen:
            seen.add(key)
            result.append(Correspondence(own[i][0], matrix @ other[j][0], strain))
            if len(result) == KEPT:
                break
    return result


def _reduced(atoms: Atoms, form: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the reduced right-handed vectors of a sublattice, as integers and in Å."""
    reduced, _ = minkowski_reduce(form @ atoms.cell.array)
    if np.linalg.det(reduced) < 0:
        reduced = -reduced
    return np.rint(reduced @ np.linalg.inv(atoms.cell.array)).astype(int), reduced


def _in_basis(operations: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Return the operations that keep a sublattice, as integer matrices for its vectors."""
    matrices = form @ operations @ np.linalg.inv(form)
    whole: np.ndarray = np.rint(matrices).astype(np.int64)
    kept: np.ndarray = whole[np.abs(matrices - whole).max(axis=(1, 2)) < 1e-6]
    return kept
