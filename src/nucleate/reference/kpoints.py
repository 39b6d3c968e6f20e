"""Choice of the cell and k-point grid of a calculation, independent of the lattice vectors and the supercell of the structure.

A regular grid is the reciprocal lattice of a superlattice of the crystal, and its error is determined by the shortest vector of the
superlattice: J. Moreno and J. M. Soler, Phys. Rev. B 45, 13891 (1992), doi 10.1103/PhysRevB.45.13891. The grid is therefore chosen on the
Niggli cell of the primitive lattice, which is the same for every description of the crystal: of all grids whose shortest superlattice
vector is long enough, the one with the fewest irreducible points. I. Krivy and B. Gruber, Acta Cryst. A 32, 297 (1976),
doi 10.1107/S0567739476000636.

Niggli cells change discontinuously under small strains. A relaxation therefore keeps the grid of its first structure, stored as integers
relative to the structure's lattice vectors, which follow the strain.
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
"""Tolerance of atomic positions for symmetry operations, Å."""
SLACK = 1e-6
"""Relative tolerance of the required length, so that rounding of a cell does not change the grid."""


IONIC = frozenset(["N", "O", "F", "Cl"])
"""Elements whose compounds usually have wide band gaps and need few k-points."""
NONMETALS = frozenset(
    ["H", "He", "B", "C", "N", "O", "F", "Ne", "Si", "P", "S", "Cl", "Ar", "Ge", "As", "Se", "Br", "Kr", "Sb", "Te", "I", "Xe", "At", "Rn"]
)
"""Elements whose crystals may have a band gap; a crystal without any of them is treated as a metal, which needs more k-points."""
SPACINGS: dict[str, dict[str, float]] = {
    "fast": {"metal": 0.25, "covalent": 0.33, "ionic": 0.45},
    "standard": {"metal": 0.18, "covalent": 0.22, "ionic": 0.45},
    "accurate": {"metal": 0.11, "covalent": 0.15, "ionic": 0.30},
}
"""Largest spacing of k-points of each preset, 1/Å, for all engines; see benchmarks/reference/convergence/README.md."""
VACUUM = 6.0
"""Width of an empty layer across which the electrons of both sides do not see one another, Å; there is one k-point along its normal."""
OWN_VECTORS = ((1, 0, 0), (0, 1, 0), (0, 0, 1))


@dataclass(frozen=True)
class KGrid:
    """Regular grid of k-points, with the lattice vectors to which it belongs.

    Attributes:
        basis: (3, 3) integers; each row is `cells` times a lattice vector of the calculated cell, in units of the structure's vectors.
        size: number of divisions along the three reciprocal vectors.
        shift: whether the grid is shifted by half a step along each axis.
        cells: number of primitive cells in the structure, of which one is calculated.
    """

    basis: tuple[tuple[int, int, int], ...]
    size: tuple[int, int, int]
    shift: tuple[bool, bool, bool]
    cells: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return the grid as plain lists, for JSON and hashes."""
        plain = {"basis": [list(row) for row in self.basis], "size": list(self.size), "shift": [bool(s) for s in self.shift]}
        return plain | {"cells": self.cells}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> KGrid:
        """Create a grid from the result of `as_dict`."""
        a, b, c = (tuple(int(x) for x in row) for row in data["basis"])
        size, shift = tuple(int(n) for n in data["size"]), tuple(bool(s) for s in data["shift"])
        return cls((a, b, c), size, shift, int(data["cells"]))  # type: ignore[arg-type]

    @property
    def on_own_vectors(self) -> bool:
        """Whether the grid belongs to the structure's own lattice vectors."""
        return self.basis == OWN_VECTORS

    def described(self, atoms: Atoms) -> tuple[Atoms, np.ndarray] | None:
        """Return the same crystal with the lattice vectors of the grid; forces, stress and energy per atom are unchanged.

        Returns:
            The periodic structure, and the (n_atoms,) index of its atom that each given atom is a translation of. None if the given
            structure is no longer a supercell of the primitive cell.
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

    def of_whole_cell(self) -> KGrid | None:
        """Return a grid of the whole structure with the same k-points, for a supercell whose atoms were displaced.

        Returns:
            The grid, or None if the points of the primitive cell are not a regular grid of the structure's reciprocal vectors.
        """
        # Rows of the superlattice of which the points are the reciprocal lattice, in units of the structure's vectors.
        rows, left = np.divmod(np.array(self.size)[:, None] * np.array(self.basis), self.cells)
        size = np.gcd.reduce(rows, axis=1)
        if left.any() or not size.all():
            return None
        basis = rows // size[:, None]
        volume = round(np.linalg.det(basis))
        if abs(volume) != 1:
            return None
        a, b, c = ((int(x), int(y), int(z)) for x, y, z in volume * basis)
        return KGrid((a, b, c), (int(size[0]), int(size[1]), int(size[2])), self.shift)

    def points(self) -> np.ndarray:
        """Return the (n, 3) k-points in units of the structure's reciprocal vectors, in the interval (-1/2, 1/2].

        Valid for structures of one primitive cell (`cells` is 1).
        """
        axes = [(np.arange(n) + 0.5 * s) / n for n, s in zip(self.size, self.shift, strict=True)]
        points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3) @ np.linalg.inv(self.basis).T
        return points - np.ceil(points - 0.5 - 1e-9)


def bonding(atoms: Atoms) -> str:
    """Return `metal`, `covalent` or `ionic`, judged by the elements; it determines the spacing of k-points."""
    elements = set(atoms.get_chemical_symbols())
    if not elements & NONMETALS:
        return "metal"
    return "ionic" if len(elements) > 1 and elements & IONIC else "covalent"


def niggli_basis(cell: np.ndarray) -> np.ndarray:
    """Return the (3, 3) integers that transform lattice vectors (rows, Å) to a right-handed Niggli cell."""
    reduced = spglib.niggli_reduce(cell, eps=1e-5)
    if reduced is None:
        reduced = minkowski_reduce(cell)[0]
    basis = np.rint(reduced @ np.linalg.inv(cell)).astype(int)
    result: np.ndarray = basis if np.linalg.det(basis @ cell) > 0 else -basis
    return result


def primitive_basis(atoms: Atoms) -> tuple[np.ndarray, int]:
    """Return the Niggli cell of the primitive lattice as `KGrid.basis` (integers), and the number of primitive cells."""
    operations = _operations(atoms)
    cells = 1
    vectors = np.eye(3)
    if operations is not None:
        shifts = operations["translations"][(operations["rotations"] == np.eye(3, dtype=int)).all((1, 2))]
        cells = len(shifts)
        if cells > 1:
            # A reduced basis of the lattice that the translations generate is among the shortest sums of translations.
            vectors = _generated(np.round((shifts - np.round(shifts)) * cells) / cells, atoms.cell.array, cells)
    return np.rint(niggli_basis(vectors @ atoms.cell.array) @ (vectors * cells)).astype(int), cells


def _generated(shifts: np.ndarray, cell: np.ndarray, cells: int) -> np.ndarray:
    """Return (3, 3) rows that span the lattice generated by a cell and translations within it, in units of the cell vectors."""
    grid = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    candidates = (shifts[:, None] + grid).reshape(-1, 3)
    candidates = candidates[np.argsort(np.linalg.norm(candidates @ cell, axis=1), kind="stable")]
    chosen: list[np.ndarray] = []
    for vector in candidates[np.abs(candidates).max(axis=1) > 1e-9]:
        if np.linalg.matrix_rank(np.array([*chosen, vector]), tol=1e-6) == len(chosen) + 1:
            chosen.append(vector)
        if len(chosen) == 3:
            break
    basis = np.array(chosen)
    # The three shortest independent vectors may span only a sublattice; then the given cell is used.
    return basis if abs(abs(np.linalg.det(basis)) * cells - 1) < 1e-6 else np.eye(3)


def _repeats(atoms: Atoms, cell: np.ndarray) -> np.ndarray:
    """Return the (n_atoms,) index of the first atom of which each atom is a translation by vectors of `cell` (its own index if none)."""
    scaled = atoms.positions @ np.linalg.inv(cell)
    apart = scaled[:, None] - scaled
    distance = np.linalg.norm((apart - np.round(apart)) @ cell, axis=2)
    moments = atoms.get_initial_magnetic_moments()
    alike = (atoms.numbers[:, None] == atoms.numbers) & (np.abs(moments[:, None] - moments) < 1e-6)
    result: np.ndarray = ((distance < 10 * SYMMETRY_PRECISION) & alike).argmax(axis=1)
    return result


def k_grid(atoms: Atoms, spacing: float, primitive: bool = True) -> KGrid:
    """Return the smallest grid of the primitive lattice whose superlattice has no vector shorter than 2 pi / spacing.

    For orthogonal vectors the divisions are n_i = ceil(2 pi / (a_i spacing)). Along vectors that cross an empty layer of more than
    `VACUUM`, as in cells of layers and isolated molecules, there is one k-point.

    Args:
        atoms: the crystal; its symmetry determines the number of irreducible points.
        spacing: largest spacing of k-points, 1/Å, with the factor 2 pi.
        primitive: whether one primitive cell of a supercell is calculated, rather than the whole structure.
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
    # A vector across vacuum counts as longer than any spacing.
    stretched = described[0].cell.array * np.where(empty_directions(described[0]), 1e3, 1.0)[:, None]
    size = _cheapest(stretched, 2 * np.pi / spacing * (1 - SLACK), turns)
    return KGrid(rows, size, _shifts(size, turns), cells)


def empty_directions(atoms: Atoms, width: float = VACUUM) -> np.ndarray:
    """Return for each lattice vector whether it crosses a layer without atoms of more than `width` (Å), as (3,) booleans."""
    scaled = np.sort(atoms.get_scaled_positions() % 1.0, axis=0)
    gaps = np.diff(np.concatenate([scaled, scaled[:1] + 1.0]), axis=0).max(axis=0)
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    result: np.ndarray = gaps * heights > width
    return result


def plain_grid(atoms: Atoms, spacing: float) -> KGrid:
    """Return the grid on the structure's own vectors with n_i = ceil(|b_i| / spacing) divisions; the spacing is in 1/Å."""
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    first, second, third = (max(1, int(np.ceil(length / spacing * (1 - SLACK)))) for length in lengths)
    return KGrid(OWN_VECTORS, (first, second, third), _shifts((first, second, third), _rotations(atoms)))


def _cheapest(cell: np.ndarray, length: float, turns: np.ndarray) -> tuple[int, int, int]:
    """Return the divisions with the fewest irreducible points whose superlattice has no vector shorter than `length` (Å)."""
    short = _vectors_within(cell, length)
    first = np.maximum(1, np.ceil(length / np.linalg.norm(cell, axis=1) - 1e-12)).astype(int)
    # The heights of a Niggli cell are at least about half its edges, so twice the divisions of an orthogonal cell are sufficient.
    sizes = np.array(sorted(itertools.product(*(range(n, 2 * n + 1) for n in first)), key=lambda size: (np.prod(size), size)))
    inversion = bool((turns == -np.eye(3)).all((1, 2)).any())
    best, cost = sizes[-1], np.inf
    for size, count in zip(sizes, np.prod(sizes, axis=1).tolist(), strict=True):
        if count / (2 * len(turns)) >= cost:
            break
        if (short % size == 0).all(axis=1).any():
            continue
        # Time reversal maps k to -k, which halves the points of crystals without inversion.
        kept = int(_maps_on_itself(size, np.zeros(3), turns).sum())
        here = max(1.0, count / (kept * (1 if inversion else 2)))
        if here < cost - 1e-9:
            best, cost = size, here
    a, b, c = (int(n) for n in best)
    return a, b, c


def _vectors_within(cell: np.ndarray, length: float) -> np.ndarray:
    """Return (n, 3) integer coordinates of all lattice vectors shorter than `length` (Å), without zero and with one of each +/- pair."""
    grid = lattice_translations(cell, length, low=0.0, high=0.0)
    grid = grid[len(grid) // 2 + 1 :]
    result: np.ndarray = grid[np.linalg.norm(grid @ cell, axis=1) < length]
    return result


def _rotations(atoms: Atoms) -> np.ndarray:
    """Return (n, 3, 3) integer rotations of the crystal with its starting moments; only the identity if spglib fails."""
    operations = _operations(atoms)
    return np.eye(3, dtype=int)[None] if operations is None else np.unique(operations["rotations"], axis=0)


def _shifts(size: tuple[int, int, int], turns: np.ndarray) -> tuple[bool, bool, bool]:
    """Return shifts of half a step along every even axis if the crystal's symmetry maps the shifted grid to itself, else no shifts."""
    first, second, third = (n % 2 == 0 for n in size)
    allowed = _maps_on_itself(size, np.where([first, second, third], 0.5, 0.0), turns).all()
    return (first, second, third) if allowed else (False, False, False)


def _operations(atoms: Atoms) -> dict[str, np.ndarray] | None:
    """Return the space-group operations relative to the structure's vectors; None if spglib does not find any."""
    spins = atoms.get_initial_magnetic_moments()
    kinds = np.unique(np.column_stack([atoms.numbers, np.round(spins * 1000)]), axis=0, return_inverse=True)[1].ravel()
    try:
        cell = (atoms.cell.tolist(), atoms.get_scaled_positions().tolist(), (kinds + 1).tolist())
        return spglib.get_symmetry(cell, symprec=SYMMETRY_PRECISION)
    except Exception:  # spglib 2.7 and later raise an exception where older versions return None
        return None


def _maps_on_itself(size: np.ndarray | tuple[int, int, int], shift: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return (n,) flags of the rotations (n, 3, 3) that map the grid to itself.

    Shifted grids converge faster and have fewer irreducible points, but break the symmetry of some lattices (hexagonal, face-centred),
    which use grids that contain the Gamma point. H. J. Monkhorst and J. D. Pack, Phys. Rev. B 13, 5188 (1976),
    doi 10.1103/PhysRevB.13.5188.
    """
    n = np.array(size)
    # Grid points are k = (m + shift) / n, m integer; a rotation W of the crystal takes k to W^-T k.
    turned = n[:, None] * np.linalg.inv(turns).transpose(0, 2, 1) / n
    corners = np.concatenate([np.zeros((1, 3)), np.eye(3)]) + shift
    landed = np.einsum("tij,cj->tci", turned, corners) - shift
    result: np.ndarray = np.abs(landed - np.round(landed)).max(axis=(1, 2)) < 1e-6
    return result
