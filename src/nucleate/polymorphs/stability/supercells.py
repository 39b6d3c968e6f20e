"""Primitive cells and supercells of phonon calculations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.errors import BadInput

SAME = 0.02
"""Tolerance in Å within which a relaxed structure is made symmetric."""
MOST_ATOMS = 3000
"""Largest number of atoms in a supercell."""


def primitive_cell(atoms: Atoms, symprec: float = SAME) -> Atoms:
    """Return the symmetrised primitive cell in the orientation of spglib; a copy if spglib fails."""
    found = spglib.standardize_cell((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), to_primitive=True, symprec=symprec)
    if found is None:
        copy: Atoms = atoms.copy()
        return copy
    cell, scaled, numbers = found
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)


def shortest_translation(cell: np.ndarray) -> float:
    """Return the length of the shortest vector of a lattice, Å; `cell` has the lattice vectors as rows."""
    reduced, _ = minkowski_reduce(cell)
    return float(np.linalg.norm(reduced, axis=1).min())


def supercell_matrix(atoms: Atoms, length: float) -> np.ndarray:
    """Return the smallest supercell in which an atom and its images are at least `length` apart.

    The candidates are multiples of the primitive cell, alike along vectors of equal length, and multiples of the conventional cell, which
    both keep the symmetry of the crystal.

    Args:
        atoms: primitive cell, as returned by `primitive_cell`.
        length: smallest distance of an atom and its periodic images, Å.

    Returns:
        (3, 3) integers; the vectors of the supercell are its rows times the primitive vectors.

    Raises:
        BadInput: the supercell has more than `MOST_ATOMS` atoms.
    """
    candidates = [_multiplied(np.eye(3, dtype=int), atoms.cell.array, length)]
    conventional = spglib.standardize_cell((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
    if conventional is not None:
        base = conventional[0] @ np.linalg.inv(atoms.cell.array)
        rounded = np.rint(base).astype(int)
        # The conventional cell of spglib may be turned; only one in the orientation of the primitive cell is used.
        if np.abs(base - rounded).max() < 1e-3 and round(abs(np.linalg.det(rounded))) >= 1:
            candidates.append(_multiplied(rounded, atoms.cell.array, length))
    best = min(candidates, key=lambda matrix: abs(round(np.linalg.det(matrix))))
    count = abs(round(np.linalg.det(best))) * len(atoms)
    if count > MOST_ATOMS:
        raise BadInput(f"a supercell of {length:g} Å has {count} atoms, more than {MOST_ATOMS}; give a smaller --length")
    return best


def _multiplied(base: np.ndarray, cell: np.ndarray, length: float) -> np.ndarray:
    """Return the rows of `base`, multiplied until the shortest translation has the length; vectors of equal length stay alike."""
    lengths = np.linalg.norm(base @ cell, axis=1)
    aim = length
    while True:
        matrix: np.ndarray = np.diag(np.ceil(aim / lengths - 1e-6).clip(1).astype(int)) @ base
        if shortest_translation(matrix @ cell) >= length - 1e-3:
            return matrix
        # Oblique vectors have differences that are shorter than the vectors themselves.
        aim *= 1.1


def composition(atoms: Atoms) -> tuple[tuple[str, int], ...]:
    """Return the reduced formula as pairs of element and number, which polymorphs of one compound share."""
    counts = Counter(atoms.get_chemical_symbols())
    divisor = int(np.gcd.reduce(list(counts.values())))
    return tuple(sorted((symbol, count // divisor) for symbol, count in counts.items()))
