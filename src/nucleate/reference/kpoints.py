"""Cell and k-point grid of a calculation, which do not depend on the vectors and supercell that describe the crystal.

A regular grid is the reciprocal lattice of a superlattice of the crystal, and what decides its error is the superlattice's shortest
vector: J. Moreno and J. M. Soler, Phys. Rev. B 45, 13891 (1992), doi 10.1103/PhysRevB.45.13891. The grid is therefore chosen on the
Niggli cell of the crystal's primitive lattice, which is one and the same for every description, as the one with the fewest irreducible
points whose shortest vector is long enough. I. Krivy and B. Gruber, Acta Cryst. A 32, 297 (1976), doi 10.1107/S0567739476000636.

Niggli cells jump under small strains. So a relaxation keeps the grid of its first structure: as integers relative to the structure's own
vectors, which strain with it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.crystals.images import lattice_translations

SYMMETRY_PRECISION = 1e-4
"""Å; how closely atoms must coincide for an operation to count as a symmetry."""
SLACK = 1e-6
"""Relative; lengths that miss the wanted one by less are long enough, whatever the last digit of a cell."""


IONIC = frozenset(["N", "O", "F", "Cl"])
"""Elements whose compounds open wide gaps and need few k-points."""
NONMETALS = frozenset(
    ["H", "He", "B", "C", "N", "O", "F", "Ne", "Si", "P", "S", "Cl", "Ar", "Ge", "As", "Se", "Br", "Kr", "Sb", "Te", "I", "Xe", "At", "Rn"]
)
"""Elements next to which a gap may open; without one a crystal is a metal, whose energies settle slowly with k-points."""
SPACINGS: dict[str, dict[str, float]] = {
    "fast": {"metal": 0.25, "covalent": 0.33, "ionic": 0.45},
    "standard": {"metal": 0.18, "covalent": 0.22, "ionic": 0.45},
    "accurate": {"metal": 0.11, "covalent": 0.15, "ionic": 0.30},
}
"""1/Å, of each preset, the same for every engine: benchmarks/reference/convergence/README.md."""
OWN_VECTORS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True)
class KGrid:
    """Regular grid of k-points, with the lattice vectors that it belongs to.

    Attributes:
        basis: (3, 3) integers, a row a vector: `cells` times the vectors that the engine is given, in units of the structure's own.
        size: divisions along the three reciprocal vectors.
        shift: whether the axes are shifted by half a step.
        cells: primitive cells that the structure repeats; the engine is given one of them.
    """

    basis: tuple[tuple[int, int, int], ...]
    size: tuple[int, int, int]
    shift: tuple[bool, bool, bool]
    cells: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Plain lists, for JSON and hashes."""
        plain = {"basis": [list(row) for row in self.basis], "size": list(self.size), "shift": [bool(s) for s in self.shift]}
        return plain | {"cells": self.cells}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> KGrid:
        """The inverse of `as_dict`."""
        a, b, c = (tuple(int(x) for x in row) for row in data["basis"])
        size, shift = tuple(int(n) for n in data["size"]), tuple(bool(s) for s in data["shift"])
        return cls((a, b, c), size, shift, int(data["cells"]))  # type: ignore[arg-type]

    @property
    def on_own_vectors(self) -> bool:
        """Whether the structure's own vectors are those of the grid."""
        return self.basis == OWN_VECTORS

    def described(self, atoms: Atoms) -> tuple[Atoms, np.ndarray] | None:
        """Return the same crystal in the grid's lattice vectors; forces, stress and energy per atom are unchanged.

        Returns:
            The structure, periodic, and (n_atoms,) which of its atoms each of the given ones repeats; None where the structure does not
            repeat the primitive cell any more.
        """
        cell = np.array(self.basis) @ atoms.cell.array / self.cells
        if self.cells == 1:
            copy = atoms.copy()
            copy.pbc = True
            copy.set_cell(cell, scale_atoms=False)
            return copy, np.arange(len(atoms))
        repeats = _repeats(atoms, cell)
        first, counts = np.unique(repeats, return_counts=True)
        if (counts != self.cells).any():
            return None
        copy = atoms[first]
        copy.pbc = True
        copy.set_cell(cell, scale_atoms=False)
        return copy, np.searchsorted(first, repeats)

    def points(self) -> np.ndarray:
        """(n, 3) in units of the reciprocal vectors of the structure's own cell (one primitive cell), each above -1/2 and up to 1/2."""
        axes = [(np.arange(n) + 0.5 * s) / n for n, s in zip(self.size, self.shift, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ np.linalg.inv(self.basis).T
        return points - np.ceil(points - 0.5 - 1e-9)


def bonding(atoms: Atoms) -> str:
    """`metal`, `covalent` or `ionic`, by the elements: what k-points a label needs."""
    elements = set(atoms.get_chemical_symbols())
    if not elements & NONMETALS:
        return "metal"
    return "ionic" if len(elements) > 1 and elements & IONIC else "covalent"


def niggli_basis(cell: np.ndarray) -> np.ndarray:
    """(3, 3) integers that turn lattice vectors (rows, Å) into the Niggli cell's, right-handed."""
    reduced = spglib.niggli_reduce(cell, eps=1e-5)
    if reduced is None:
        reduced = minkowski_reduce(cell)[0]
    basis = np.rint(reduced @ np.linalg.inv(cell)).astype(int)
    result: np.ndarray = basis if np.linalg.det(basis @ cell) > 0 else -basis
    return result


def primitive_basis(atoms: Atoms) -> tuple[np.ndarray, int]:
    """The Niggli cell of the crystal's primitive lattice, as `KGrid` holds it: integers, and the number of primitive cells."""
    found = _operations(atoms)
    cells = 1
    vectors = np.eye(3)
    if found is not None:
        shifts = found["translations"][(found["rotations"] == np.eye(3, dtype=int)).all((1, 2))]
        cells = len(shifts)
        if cells > 1:
            # The lattice that the translations add: its reduced basis is among the shortest of their sums.
            vectors = _generated(np.round((shifts - np.round(shifts)) * cells) / cells, atoms.cell.array, cells)
    return np.rint(niggli_basis(vectors @ atoms.cell.array) @ (vectors * cells)).astype(int), cells


def _generated(shifts: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    """(3, 3) rows that span the lattice of a cell and of shifts within it, in units of the cell's vectors."""
    grid = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    candidates = (shifts[:, None] + grid).reshape(-1, 3)
    candidates = candidates[np.argsort(np.linalg.norm(candidates @ cell, axis=1), kind="stable")]
    chosen: list[np.ndarray] = []
    for vector in candidates[np.abs(candidates).max(axis=1) > 1e-9]:
        if np.linalg.matrix_rank(np.array([*chosen, vector]), tol=1e-6) == len(chosen) + 1:
            chosen.append(vector)
        if len(chosen) == 3:
            break
    found = np.array(chosen)
    # The three shortest independent vectors span a sublattice at times; then none is taken for primitive.
    return found if abs(abs(np.linalg.det(found)) * cells - 1) < 1e-6 else np.eye(3)


def _repeats(atoms: Atoms, cell: np.ndarray) -> np.ndarray:
    """(n_atoms,) the first atom that each one is a translation of by vectors of `cell`; itself where there is none."""
    scaled = atoms.positions @ np.linalg.inv(cell)
    apart = scaled[:, None] - scaled
    distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=2)
    moments = atoms.get_initial_magnetic_moments()
    alike = (atoms.numbers[:, None] == atoms.numbers) & (np.abs(moments[:, None] - moments) < 1e-6)
    result: np.ndarray = ((distance < 10 * SYMMETRY_PRECISION) & alike).argmax(axis=1)
    return result


def k_grid(atoms: Atoms, spacing: float, primitive: bool = True) -> KGrid:
    """Return the smallest grid of the primitive lattice whose superlattice has no vector shorter than 2 pi / spacing.

    For orthogonal vectors that is n_i = ceil(2 pi / (a_i spacing)).

    Args:
        atoms: the crystal; its symmetry decides how many points are irreducible.
        spacing: 1/Å, 2 pi included.
        primitive: calculate one primitive cell of a structure that repeats several; else the whole structure.
    """
    basis, cells = primitive_basis(atoms) if primitive else (niggli_basis(atoms.cell.array), 1)
    rows = tuple((int(a), int(b), int(c)) for a, b, c in basis)
    described = KGrid(rows, (1, 1, 1), (False, False, False), cells).described(atoms)
    if described is None:
        basis = niggli_basis(atoms.cell.array)
        rows, cells = tuple((int(a), int(b), int(c)) for a, b, c in basis), 1
        described = KGrid(rows, (1, 1, 1), (False, False, False)).described(atoms)
    assert described is not None
    turns = _rotations(described[0])
    size = _cheapest(described[0].cell.array, 2 * np.pi / spacing * (1 - SLACK), turns)
    return KGrid(rows, size, _shifts(size, turns), cells)


def plain_grid(atoms: Atoms, spacing: float) -> KGrid:
    """Return the grid in the structure's own vectors, n_i = ceil(|b_i| / spacing), with the spacing in 1/Å."""
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    first, second, third = (max(1, int(np.ceil(length / spacing * (1 - SLACK)))) for length in lengths)
    return KGrid(OWN_VECTORS, (first, second, third), _shifts((first, second, third), _rotations(atoms)))


def _cheapest(cell: np.ndarray, length: float, turns: np.ndarray) -> tuple[int, int, int]:
    """Divisions whose superlattice has no vector shorter than `length` (Å), with the fewest irreducible points."""
    short = _vectors_within(cell, length)
    first = np.maximum(1, np.ceil(length / np.linalg.norm(cell, axis=1) - 1e-12)).astype(int)
    # Heights of a Niggli cell are no less than some half of its edges, and a multiple of another axis needs twice as many at most.
    sizes = np.array(sorted(itertools.product(*(range(n, 2 * n + 1) for n in first)), key=lambda size: (np.prod(size), size)))
    inversion = bool((turns == -np.eye(3)).all((1, 2)).any())
    best, cost = sizes[-1], np.inf
    for size, count in zip(sizes, np.prod(sizes, axis=1).tolist(), strict=True):
        if count / (2 * len(turns)) >= cost:
            break
        if (short % size == 0).all(axis=1).any():
            continue
        # Without inversion among the rotations, time reversal maps k on -k.
        kept = int(_maps_on_itself(size, np.zeros(3), turns).sum())
        here = max(1.0, count / (kept * (1 if inversion else 2)))
        if here < cost - 1e-9:
            best, cost = size, here
    a, b, c = (int(n) for n in best)
    return a, b, c


def _vectors_within(cell: np.ndarray, length: float) -> np.ndarray:
    """(n, 3) integers of all lattice vectors shorter than `length` (Å), zero left out, one of each pair."""
    grid = lattice_translations(cell, length, low=0.0, high=0.0)
    grid = grid[len(grid) // 2 + 1 :]
    result: np.ndarray = grid[np.linalg.norm(grid @ cell, axis=1) < length]
    return result


def _rotations(atoms: Atoms) -> np.ndarray:
    """(n, 3, 3) integers: point operations of the crystal with its starting moments; the identity where none is known."""
    found = _operations(atoms)
    return np.eye(3, dtype=int)[None] if found is None else np.unique(found["rotations"], axis=0)


def _shifts(size: tuple[int, int, int], turns: np.ndarray) -> tuple[bool, bool, bool]:
    """Half a step along every even axis, if the symmetry of the crystal allows that."""
    first, second, third = (n % 2 == 0 for n in size)
    allowed = _maps_on_itself(size, np.where([first, second, third], 0.5, 0.0), turns).all()
    return (first, second, third) if allowed else (False, False, False)


def _operations(atoms: Atoms) -> dict[str, np.ndarray] | None:
    """Operations of the space group, in the structure's own vectors; None where spglib finds none."""
    spins = atoms.get_initial_magnetic_moments()
    kinds = np.unique(np.column_stack([atoms.numbers, np.round(spins * 1000)]), axis=0, return_inverse=True)[1].ravel()
    try:
        cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), (kinds + 1).tolist())
        return spglib.get_symmetry(cell, symprec=SYMMETRY_PRECISION)
    except Exception:  # spglib 2.7 and later raise where older ones return None; either way no operation is known
        return None


def _maps_on_itself(size: np.ndarray | tuple[int, int, int], shift: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """(n,) whether each rotation (n, 3, 3) of the crystal maps the grid on itself.

    Shifted grids are better converged and cheaper, but in some lattices (hexagonal, face-centred) they break the symmetry: those keep the
    gamma point. H. J. Monkhorst and J. D. Pack, Phys. Rev. B 13, 5188 (1976), doi 10.1103/PhysRevB.13.5188.
    """
    n = np.array(size)
    # Grid points are k = (m + shift) / n, m integer; a rotation W of the crystal takes k to W^-T k.
    turned = n[:, None] * np.linalg.inv(turns).transpose(0, 2, 1) / n
    corners = np.concatenate([np.zeros((1, 3)), np.eye(3)]) + shift
    landed = np.einsum("tij,cj->tci", turned, corners) - shift
    result: np.ndarray = np.abs(landed - np.round(landed)).max(axis=(1, 2)) < 1e-6
    return result
