"""The atoms of clusters in the order of the search, and the last step of every operator for clusters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from nucleate.crystals.clusters import extent, gathered, in_cube
from nucleate.generate.distances import closest_fit
from nucleate.generate.evolution.base import limits
from nucleate.generate.evolution.finishing import EXACT, ROUNDING
from nucleate.generate.evolution.sites import numbers_of, species_of
from nucleate.generate.packing import Packing
from nucleate.generate.soft_spheres import push_apart
from nucleate.generate.tries import NotPlaced


class Cluster(NamedTuple):
    """Atoms without a cell.

    Attributes:
        positions: (N, 3) positions, Å, with the centroid at the origin.
        species: (N,) index of the species of each atom in `Packing.symbols`.
    """

    positions: np.ndarray
    species: np.ndarray


def cluster_of(packing: Packing, atoms: Atoms) -> Cluster:
    """Return the atoms of a parent in the order of the species; raise `NotPlaced` if it has other atoms than the search."""
    species = species_of(packing, atoms)
    if not np.array_equal(np.bincount(species, minlength=len(packing.symbols)), packing.counts):
        raise NotPlaced("a parent does not have the composition of the search")
    order = np.argsort(species, kind="stable")
    positions = gathered(atoms)[order]
    return Cluster(positions - positions.mean(axis=0), species[order])


def finished_cluster(
    packing: Packing, cluster: Cluster, parents: Sequence[Atoms], diameter: float | None = None, operation: np.ndarray | None = None
) -> Atoms:
    """Return the child of an operator: sorted by species, in the middle of the box of its parents, with all distances within the limits.

    Atoms that are too close are pushed apart.

    Args:
        packing: species and numbers of atoms of the search.
        cluster: atoms of the child, in any order.
        parents: clusters of which the child was made, in cubic boxes; they determine the smallest distances together with `packing`.
        diameter: largest distance of two atoms of the child, Å; None for that of its parents.
        operation: (3, 3) orthogonal matrix of finite order; a child that is symmetric under it remains so.

    Raises:
        NotPlaced: the child has other atoms than the search, atoms cannot be pushed apart, or it is larger than its parents.
    """
    if not np.array_equal(np.bincount(cluster.species, minlength=len(packing.symbols)), packing.counts):
        raise NotPlaced("the child does not have the composition of the search")
    order = np.argsort(cluster.species, kind="stable")
    species, positions = cluster.species[order], cluster.positions[order]
    smallest = limits(packing, parents)[np.ix_(species, species)]
    # A box so large that no image comes near, whatever the push.
    room = 4.0 * (extent(positions) + float(smallest.max()) + 1.0)
    cell = room * np.eye(3)
    project = None if operation is None else _projection(positions, species, operation)
    apart = push_apart(positions / room, smallest, cell, np.zeros((1, 3)), project)
    if apart is None:
        raise NotPlaced("the atoms of the child could not be pushed apart")
    if closest_fit(apart, cell, smallest) < 1.0 - ROUNDING:
        raise NotPlaced("atoms of the child are too close")
    largest = max(extent(gathered(atoms)) for atoms in parents) if diameter is None else diameter
    if extent(apart * room) > largest + ROUNDING:
        raise NotPlaced("the child is larger than allowed")
    edge = max(float(atoms.cell.lengths().max()) for atoms in parents)
    return in_cube(Atoms(numbers=numbers_of(packing, species), positions=apart * room), edge)


def _projection(positions: np.ndarray, species: np.ndarray, operation: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function that averages positions over the powers of an operation; None if the atoms are not symmetric under it."""
    distances = np.linalg.norm((positions @ operation.T)[:, None] - positions, axis=2)
    distances[species[:, None] != species] = np.inf
    images = distances.argmin(axis=1)
    if distances.min(axis=1).max() > EXACT or len(np.unique(images)) < len(images):
        return None
    order = next(n for n in range(1, 100) if np.allclose(np.linalg.matrix_power(operation, n), np.eye(3), atol=1e-9))

    def project(moved: np.ndarray) -> np.ndarray:
        total, image, reached = np.zeros_like(moved), moved, np.arange(len(moved))
        for _ in range(order):
            total[reached] += image
            image, reached = image @ operation.T, images[reached]
        return total / order

    return project
