"""The atoms of parents in the order of the search, and the last step of every operator for crystals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.generate.distances import closest_fit, image_shifts
from nucleate.generate.evolution.base import limits
from nucleate.generate.lattices import compact
from nucleate.generate.packing import Packing
from nucleate.generate.soft_spheres import TARGET, push_apart
from nucleate.generate.tries import NotPlaced

ROUNDING = 1e-9
"""Relative error of a distance that is as large as its limit."""


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


def finished(packing: Packing, sites: Sites, parents: Sequence[Atoms], volume: float | None = None) -> Atoms:
    """Return the child of an operator: sorted by species, in a compact cell, with all distances within the limits.

    Atoms that are too close are pushed apart; steps along the vectors between atoms keep the symmetry of the child.

    Args:
        packing: species and numbers of atoms of the search.
        sites: atoms of the child, in any order and in any cell.
        parents: structures of which the child was made; they determine the smallest distances together with `packing`.
        volume: volume to which the child is scaled, Å³; None for that of `sites`.

    Raises:
        NotPlaced: the child has other atoms than the search, its cell is flat or too thin for an atom and its image, or atoms cannot be
            pushed apart.
    """
    if not np.array_equal(np.bincount(sites.species, minlength=len(packing.symbols)), packing.counts):
        raise NotPlaced("the child does not have the composition of the search")
    if not np.isfinite(sites.scaled).all() or not np.isfinite(sites.cell).all() or sites.volume < 1e-3 * packing.n_atoms:
        raise NotPlaced("the cell of the child is flat")
    order = np.argsort(sites.species, kind="stable")
    species = sites.species[order]
    factor = 1.0 if volume is None else (volume / sites.volume) ** (1 / 3)
    try:
        scaled, cell = compact(sites.scaled[order], sites.cell * factor)
    except RuntimeError:  # the reduction of very skewed cells may not converge
        raise NotPlaced("the cell of the child is flat") from None
    smallest = limits(packing, parents)[np.ix_(species, species)]
    if np.linalg.norm(cell, axis=1).min() < smallest.diagonal().max():
        raise NotPlaced("a lattice vector of the child is shorter than the smallest distance")
    shifts = image_shifts(cell, TARGET * float(smallest.max()))
    apart = push_apart(scaled, smallest, cell, shifts)
    if apart is None:
        raise NotPlaced("the atoms of the child could not be pushed apart")
    scaled = apart % 1.0 % 1.0
    if closest_fit(scaled, cell, smallest) < 1.0 - ROUNDING:
        raise NotPlaced("atoms of the child are too close")
    return Atoms(numbers=numbers_of(packing, species), scaled_positions=scaled, cell=cell, pbc=True)
