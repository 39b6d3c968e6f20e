"""Supercells of a parent lattice: Hermite normal forms, site indices, and permutations of the sites by symmetry."""

from __future__ import annotations

import itertools
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.errors import BadInput
from nucleate.lattice.parent import VACANCY, Parent
from nucleate.reference.kpoints import KGrid


def row_hermite(matrix: np.ndarray) -> np.ndarray:
    """Return the (3, 3) upper triangular integer matrix whose rows span the same lattice as the rows of `matrix` (n, 3).

    The diagonal is positive, and the entries above it are not negative and smaller than it.

    Raises:
        BadInput: The rows do not span three dimensions.
    """
    h = np.array(matrix, dtype=int)
    for column in range(3):
        while True:
            below = h[column:, column]
            rows = np.flatnonzero(below)
            if not rows.size:
                raise BadInput("supercell: its vectors are linearly dependent")
            pivot = column + rows[np.abs(below[rows]).argmin()]
            h[[column, pivot]] = h[[pivot, column]]
            h[column] *= np.sign(h[column, column])
            h[column + 1 :] -= (h[column + 1 :, column] // h[column, column])[:, None] * h[column]
            if not h[column + 1 :, column].any():
                break
        for row in range(column):
            h[row] -= (h[row, column] // h[column, column]) * h[column]
    return h[:3]


def hermite_forms(cells: int, periodic: np.ndarray) -> list[np.ndarray]:
    """Return all supercells of `cells` primitive cells as row-Hermite matrices; there is one cell along directions without period.

    G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008), doi 10.1103/PhysRevB.77.224115.
    """
    a, b, c = (range(1, cells + 1) if p else (1,) for p in periodic)
    result = []
    for x, y, z in itertools.product(a, b, c):
        if x * y * z != cells:
            continue
        # Entries above the diagonal mix only periodic directions.
        above_y = range(y if periodic[0] and periodic[1] else 1)
        above_z = range(z if periodic[2] else 1)
        for xy, xz, yz in itertools.product(above_y, above_z if periodic[0] else (0,), above_z if periodic[1] else (0,)):
            result.append(np.array([[x, xy, xz], [0, y, yz], [0, 0, z]]))
    return result


class Supercell:
    """A supercell of a parent lattice.

    Sites are numbered `cell * m + s`, with the cell in the order of `cells` and the active site s of the parent.

    Args:
        parent: The parent lattice with m active sites.
        matrix: (3, 3) integers; rows are lattice vectors in units of those of the parent.

    Raises:
        BadInput: The vectors are linearly dependent, or repeat a layer along its normal.
    """

    def __init__(self, parent: Parent, matrix: np.ndarray):
        matrix = np.array(matrix, dtype=int)
        across = ~parent.periodic
        if (matrix[across] != np.eye(3, dtype=int)[across]).any() or (matrix[:, across] != np.eye(3, dtype=int)[:, across]).any():
            raise BadInput("supercell: a layer is not repeated along its normal")
        self.parent = parent
        self.matrix = matrix
        self.hermite = row_hermite(matrix)
        self.count = int(np.prod(np.diag(self.hermite)))
        x, y, z = np.diag(self.hermite)
        self.cells = np.stack(np.meshgrid(np.arange(x), np.arange(y), np.arange(z), indexing="ij"), -1).reshape(-1, 3)

    @property
    def sites(self) -> int:
        """Number of active sites."""
        return self.count * len(self.parent.active)

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) lattice vectors, rows, Å."""
        result: np.ndarray = self.matrix @ self.parent.cell
        return result

    @cached_property
    def positions(self) -> np.ndarray:
        """(sites, 3) Cartesian positions of the active sites, Å."""
        scaled = self.cells[:, None] + self.parent.scaled
        result: np.ndarray = scaled.reshape(-1, 3) @ self.parent.cell
        return result

    @property
    def sublattice(self) -> np.ndarray:
        """(sites,) active site of the parent of each site."""
        return np.tile(np.arange(len(self.parent.active)), self.count)

    def cell_index(self, cells: np.ndarray) -> np.ndarray:
        """Return the number of the cell that each integer vector (..., 3) is a translation of."""
        n = np.array(cells, dtype=int)
        h = self.hermite
        for k in range(3):
            n = n - (n[..., k] // h[k, k])[..., None] * h[k]
        result: np.ndarray = (n[..., 0] * h[1, 1] + n[..., 1]) * h[2, 2] + n[..., 2]
        return result

    def site_index(self, cells: np.ndarray, sublattice: np.ndarray) -> np.ndarray:
        """Return the number of the site of cells (..., 3) and active sites (...) of the parent."""
        result: np.ndarray = self.cell_index(cells) * len(self.parent.active) + sublattice
        return result

    @cached_property
    def translations(self) -> np.ndarray:
        """(count, sites) permutations of the sites by the translations of the parent; row k moves cell 0 to cell k."""
        moved = self.cell_index(self.cells[:, None] + self.cells[None])
        m = len(self.parent.active)
        result: np.ndarray = (moved[:, :, None] * m + np.arange(m)).reshape(self.count, -1)
        return result

    @cached_property
    def permutations(self) -> np.ndarray:
        """(g, sites) distinct permutations of the sites by the operations of the parent that map the supercell to itself."""
        m = len(self.parent.active)
        rows = []
        for rotation, image, shift in self.parent.operations:
            if (row_hermite(self.hermite @ rotation.T) != self.hermite).any():
                continue
            cells = (self.cells @ rotation.T)[:, None] + shift
            moved = self.site_index(cells, np.broadcast_to(image, (self.count, m))).reshape(-1)
            rows.append(self.translations[:, moved])
        result: np.ndarray = np.unique(np.concatenate(rows), axis=0)
        return result

    def atoms(self, occupation: np.ndarray) -> Atoms:
        """Return the structure in which site i holds species `occupation[i]` of its list; vacant sites have no atom."""
        parent = self.parent
        fixed = [k for k, names in enumerate(parent.species) if len(names) == 1]
        still = (self.cells[:, None] + parent.atoms.get_scaled_positions(wrap=False)[fixed]).reshape(-1, 3) @ parent.cell
        symbols = [parent.species[k][0] for _ in range(self.count) for k in fixed]
        names = [parent.allowed[s][int(o)] for s, o in zip(self.sublattice, occupation, strict=True)]
        full = np.array([name != VACANCY for name in names], dtype=bool)
        atoms = Atoms(
            [*symbols, *(name for name, there in zip(names, full, strict=True) if there)],
            positions=np.concatenate([still, self.positions[full]]),
            cell=self.cell,
            pbc=parent.periodic,
        )
        atoms.wrap(pbc=parent.periodic)
        return atoms

    def folded(self, mesh: tuple[int, int, int]) -> KGrid | None:
        """Return the k-points of this supercell that a grid of the parent folds to, with the point Gamma.

        With them, two descriptions of one crystal have the same energy, and errors of the grid cancel in differences.

        Args:
            mesh: divisions along the reciprocal vectors of the parent.

        Returns:
            The grid, or None if the superlattice of the mesh is no superlattice of the supercell.
        """
        wide = np.diag(mesh)
        quotient = wide @ np.linalg.inv(self.matrix)
        if np.abs(quotient - np.rint(quotient)).max() > 1e-8:
            return None
        inverse = np.linalg.inv(np.rint(quotient))
        total = round(abs(np.linalg.det(np.rint(quotient))))
        best: tuple[float, KGrid] | None = None
        for basis in _short_bases(self.parent.periodic):
            # Smallest multiples of the vectors that belong to the superlattice of the mesh.
            parts = basis @ inverse
            size = [next(n for n in range(1, total + 1) if np.abs(n * row - np.rint(n * row)).max() < 1e-8) for row in parts]
            if np.prod(size) != total:
                continue
            length = float(np.linalg.norm(basis @ self.cell, axis=1).sum())
            if best is None or length < best[0] - 1e-6:
                a, b, c = ((int(x), int(y), int(z)) for x, y, z in basis)
                best = length, KGrid((a, b, c), (size[0], size[1], size[2]), (False, False, False))
        return None if best is None else best[1]


def _short_bases(periodic: np.ndarray) -> list[np.ndarray]:
    """Return integer (3, 3) matrices of determinant one with small entries, unchanged along directions without period."""
    largest = 2 if not periodic.all() else 1
    rows = [np.array(row) for row in itertools.product(*(range(-largest, largest + 1) if p else (0,) for p in periodic)) if any(row)]
    choices = [rows if p else [np.eye(3, dtype=int)[k]] for k, p in enumerate(periodic)]
    bases = np.array(list(itertools.product(*choices)))
    return list(bases[np.rint(np.linalg.det(bases)) == 1])


def compact(parent: Parent, matrix: np.ndarray) -> Supercell:
    """Return the supercell of a lattice with the shortest vectors."""
    reduced, operation = minkowski_reduce(matrix @ parent.cell, pbc=parent.periodic)
    del reduced
    vectors = np.array(operation, dtype=int) @ matrix
    if np.linalg.det(vectors @ parent.cell) * np.linalg.det(parent.cell) < 0:
        vectors[0] *= -1
    return Supercell(parent, vectors)
