"""The atoms of parents in the order of the search, and in compact cells."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.generate.lattices import compact
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced


class Sites(NamedTuple):
    """Atoms in a cell, without the names of their species.

    Attributes:
        scaled: (N, 3) fractional positions.
        cell: (3, 3) lattice vectors as rows, Å.
        species: (N,) index of the species of each atom in `Packing.symbols`.
    """

    scaled: np.ndarray
    cell: np.ndarray
    species: np.ndarray

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return float(abs(np.linalg.det(self.cell)))


def numbers_of(packing: Packing, species: np.ndarray) -> np.ndarray:
    """Return the atomic numbers of species given by their indices."""
    return np.array([atomic_numbers[symbol] for symbol in packing.symbols])[species]


def species_of(packing: Packing, atoms: Atoms) -> np.ndarray:
    """Return the (N,) indices of the species of the atoms; raise `NotPlaced` if an atom is not of the search."""
    index = {atomic_numbers[symbol]: i for i, symbol in enumerate(packing.symbols)}
    try:
        return np.array([index[int(number)] for number in atoms.numbers], dtype=int)
    except KeyError:
        raise NotPlaced("a parent contains other species than the search") from None


def sites_of(packing: Packing, atoms: Atoms, units: int = 1) -> Sites:
    """Return the atoms of a parent in the order of the species, in its cell of shortest lattice vectors.

    Args:
        packing: species and numbers of atoms of the search.
        atoms: periodic structure; it is not changed.
        units: number of copies of the parent that have the atoms of the search.

    Raises:
        NotPlaced: the parent has other atoms than the search.
    """
    species = species_of(packing, atoms)
    counts = np.bincount(species, minlength=len(packing.symbols))
    if not np.array_equal(counts * units, packing.counts):
        raise NotPlaced("a parent does not have the composition of the search")
    order = np.argsort(species, kind="stable")
    scaled, cell = compact(atoms.get_scaled_positions()[order], atoms.cell.array)
    return Sites(scaled, cell, species[order])
