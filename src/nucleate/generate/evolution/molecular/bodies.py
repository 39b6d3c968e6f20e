"""Crystals of whole molecules: centres and shapes of the molecules of parents and children."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, covalent_radii

from nucleate.generate.evolution.sites import Sites
from nucleate.generate.molecular_packing import INCREMENTS, contact_distances
from nucleate.generate.tries import NotPlaced
from nucleate.molecules.molecule import BOND, Molecule
from nucleate.molecules.topology import Topology, unwrapped

UNKNOWN = 25.0
"""Volume of an atom in a molecular crystal whose element is not tabulated, Å³."""


@dataclass(frozen=True, eq=False)
class Contents:
    """Molecules of the search cell.

    Attributes:
        molecules: distinct molecules.
        counts: number of molecules of each kind.
    """

    molecules: tuple[Molecule, ...]
    counts: tuple[int, ...]

    @cached_property
    def topology(self) -> Topology:
        """Order of the atoms and bonds of the molecules."""
        return Topology(self.molecules)

    @cached_property
    def limits(self) -> list[list[np.ndarray]]:
        """Smallest distances between the atoms of two molecules by their kinds, Å."""
        return contact_distances(self.molecules)

    @cached_property
    def distances(self) -> np.ndarray:
        """(K, K) typical distances between the centres of neighbouring molecules by their kinds, Å."""
        volumes = [sum(INCREMENTS.get(chemical_symbols[z], UNKNOWN) for z in molecule.numbers) for molecule in self.molecules]
        edges = np.array(volumes) ** (1 / 3)
        return 0.5 * (edges[:, None] + edges)


class Bodies(NamedTuple):
    """Molecules in a cell.

    Attributes:
        centres: (m, 3) fractional coordinates of the centroids.
        shapes: (n, 3) positions of the atoms of each molecule relative to its centroid, Å.
        kinds: (m,) kind of each molecule.
        cell: (3, 3) lattice vectors as rows, Å.
    """

    centres: np.ndarray
    shapes: tuple[np.ndarray, ...]
    kinds: np.ndarray
    cell: np.ndarray

    @property
    def points(self) -> Sites:
        """The centroids, as atoms whose species are the kinds of the molecules."""
        return Sites(self.centres, self.cell, self.kinds)


def bodies_of(contents: Contents, atoms: Atoms) -> Bodies:
    """Return the molecules of a parent, in the order of their kinds; the parent is not changed.

    Raises:
        NotPlaced: the parent has other molecules than the search, or a bond of it is broken.
    """
    topology = contents.topology
    blocks, fragments, bonds = topology.blocks(atoms.numbers), topology.fragments(atoms.numbers), topology.bonds(atoms.numbers)
    if blocks is None or fragments is None or bonds is None:
        raise NotPlaced("a parent does not consist of the molecules of the search")
    kinds = np.array([kind for kind, _ in blocks])
    if not np.array_equal(np.bincount(kinds, minlength=len(contents.counts)), contents.counts):
        raise NotPlaced("a parent does not have the molecules of the search")
    positions = unwrapped(atoms, fragments, bonds)
    radii = covalent_radii[atoms.numbers]
    lengths = np.linalg.norm(positions[bonds[:, 0]] - positions[bonds[:, 1]], axis=1)
    if (lengths > BOND * (radii[bonds[:, 0]] + radii[bonds[:, 1]])).any():
        raise NotPlaced("a molecule of a parent is broken")
    pieces = [positions[first : first + len(contents.molecules[kind])] for kind, first in blocks]
    order = np.argsort(kinds, kind="stable")
    centres = np.array([pieces[k].mean(axis=0) for k in order])
    shapes = tuple(pieces[k] - pieces[k].mean(axis=0) for k in order)
    return Bodies(centres @ np.linalg.inv(atoms.cell.array), shapes, kinds[order], atoms.cell.array.copy())


def atoms_of(contents: Contents, bodies: Bodies) -> Atoms:
    """Return a crystal with each molecule in one piece and its centroid in the cell."""
    places = (bodies.centres % 1.0 % 1.0) @ bodies.cell
    positions = np.concatenate([place + shape for place, shape in zip(places, bodies.shapes, strict=True)])
    numbers = np.concatenate([contents.molecules[kind].numbers for kind in bodies.kinds])
    return Atoms(numbers=numbers, positions=positions, cell=bodies.cell, pbc=True)


def atomic_sites(contents: Contents, bodies: Bodies) -> Sites:
    """Return all atoms in the order of the molecules, with the atomic numbers as their species."""
    atoms = atoms_of(contents, bodies)
    return Sites(atoms.get_scaled_positions(wrap=False), bodies.cell, np.array(atoms.numbers))


def orthogonal_between(start: np.ndarray, end: np.ndarray, sign: float) -> np.ndarray:
    """Return the (3, 3) orthogonal matrix Q of determinant `sign` for which `start @ Q` is nearest to `end`.

    W. Kabsch, Acta Cryst. A 32, 922 (1976), doi 10.1107/S0567739476001873.

    Args:
        start, end: (n, 3) positions with the centroids at the origin, Å.
        sign: 1 for a rotation, -1 for one times the inversion.
    """
    u, _, vt = np.linalg.svd(start.T @ end)
    return np.asarray(u @ np.diag([1.0, 1.0, sign * np.sign(np.linalg.det(u @ vt))]) @ vt)


def nearest_of(start: np.ndarray, end: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the rotation or rotoinversion that maps a molecule best onto another one; one of the two at random if both do."""
    both = [orthogonal_between(start, end, sign) for sign in (1.0, -1.0)]
    errors = [float(((start @ matrix - end) ** 2).mean()) for matrix in both]
    if abs(errors[0] - errors[1]) < 1e-3:
        return both[int(rng.integers(2))]
    return both[int(np.argmin(errors))]
