"""Molecules with their bonds, and their point groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from nucleate.errors import BadInput

BOND = 1.25
"""Largest length of a bond relative to the sum of the covalent radii of B. Cordero et al., Dalton Trans. 2008, 2832, doi
10.1039/b801115j."""


def bonds_of(atoms: Atoms) -> np.ndarray:
    """Return the (n_bonds, 2) pairs of bonded atoms of an isolated molecule, by distance.

    Args:
        atoms: the molecule; its cell is not used.
    """
    vectors = atoms.positions[:, None] - atoms.positions[None]
    radii = covalent_radii[atoms.numbers]
    bonded = np.linalg.norm(vectors, axis=2) < BOND * (radii[:, None] + radii[None])
    first, second = np.nonzero(np.triu(bonded, 1))
    return np.stack([first, second], axis=1)


@dataclass(frozen=True, eq=False)
class Molecule:
    """An isolated molecule.

    Attributes:
        numbers: (n,) atomic numbers.
        positions: (n, 3) positions, Å, with the centroid at the origin.
        bonds: (n_bonds, 2) pairs of bonded atoms.
        name: name for files and messages.
    """

    numbers: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray
    name: str

    @classmethod
    def from_atoms(cls, atoms: Atoms, name: str, bonds: np.ndarray | None = None) -> Molecule:
        """Return the molecule of some atoms.

        Args:
            atoms: one molecule without a periodic cell.
            name: name for messages.
            bonds: pairs of bonded atoms; None: by distance.

        Raises:
            BadInput: there are several molecules, a periodic cell, or atoms at the same place.
        """
        if atoms.pbc.any():
            raise BadInput(f"{name}: the file contains a periodic cell; give an isolated molecule, for instance as .xyz or .mol")
        if len(atoms) == 0:
            raise BadInput(f"{name}: the file contains no atoms")
        if len(atoms) == 1:
            raise BadInput(f"{name}: is a single atom; search its crystals by their formula")
        distances = atoms.get_all_distances() + 10 * np.eye(len(atoms))
        if len(atoms) > 1 and distances.min() < 0.5:
            i, j = np.unravel_index(int(distances.argmin()), distances.shape)
            raise BadInput(f"{name}: atoms {i + 1} and {j + 1} are {distances.min():.2f} Å apart; check units and coordinates")
        bonds = bonds_of(atoms) if bonds is None else np.asarray(bonds, dtype=int).reshape(-1, 2)
        parts = connected(len(atoms), bonds)
        if len(parts) > 1:
            formulas = ", ".join(Atoms(atoms.numbers[part]).get_chemical_formula() for part in parts[:4])
            raise BadInput(
                f"{name}: contains {len(parts)} separate molecules ({formulas}{', ...' if len(parts) > 4 else ''}); "
                "give each in a file of its own, with --molecule for each"
            )
        return cls(np.array(atoms.numbers), atoms.positions - atoms.positions.mean(0), bonds, name)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def atoms(self) -> Atoms:
        """The molecule as atoms without a cell."""
        return Atoms(numbers=self.numbers, positions=self.positions)

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        return str(self.atoms.get_chemical_formula())

    @property
    def linear(self) -> bool:
        """Whether all atoms lie on one line."""
        return len(self) > 1 and bool(np.linalg.svd(self.positions, compute_uv=False)[1] < 0.05)

    @cached_property
    def graph_key(self) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Elements and bonds, for comparison of molecules with the same order of atoms."""
        return tuple(int(z) for z in self.numbers), tuple(sorted((int(i), int(j)) for i, j in np.sort(self.bonds, axis=1)))


def connected(n: int, bonds: np.ndarray) -> list[np.ndarray]:
    """Return the connected parts of a graph as arrays of nodes, in the order of their first nodes.

    Args:
        n: number of nodes.
        bonds: (n_bonds, 2) pairs of nodes.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    bonds = np.asarray(bonds, dtype=int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(bonds)), (bonds[:, 0], bonds[:, 1])), shape=(n, n))
    count, labels = connected_components(graph, directed=False)
    return [np.nonzero(labels == k)[0] for k in range(count)]


def same_pairs(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two lists of pairs contain the same pairs, each as often."""
    a, b = np.sort(a, axis=1), np.sort(b, axis=1)
    return len(a) == len(b) and bool((a[np.lexsort(a.T)] == b[np.lexsort(b.T)]).all())
