"""Clusters built from the orbits of a symmetry operation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from nucleate.crystals.point_groups import turned
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.base import limits
from nucleate.generate.evolution.cluster_axes import likely_axis, likely_centre
from nucleate.generate.evolution.cluster_finishing import Cluster, cluster_of, finished_cluster
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

FOLDS = (2, 3, 4, 5, 6)
"""Orders of the rotations that are tried."""
TRIALS = 24
"""Number of operations of which the one that the parent obeys best is used."""
OVERLAP = 0.7
"""Distance relative to its limit below which two sites are the same place."""
ATTEMPTS = 8
"""Largest number of operations with which one call tries to make a child."""


@dataclass(frozen=True, eq=False)
class ClusterSymmetrise:
    """A cluster that is symmetric under one operation, built from the orbits of the atoms of its parent.

    1. A rotation of order 2 to 6 about an axis through the centre, in a third of the cases times the inversion, is drawn. The centre is the
       centroid, the atom nearest to it, or the centroid of the inner atoms. In half of the cases the operation is that of several which the
       parent obeys best; otherwise any, so that the child is made of one sector of its parent.
    2. The images of each atom under the powers of the operation form an orbit. Images closer than the smallest distance are one site, which
       moves onto the axis, the plane or the centre.
    3. Orbits are added one after another if they do not overlap with those before and have as many sites as atoms of the species are left:
       those that the parent fills best first, or those of one sector first. Partially filled orbits are thereby completed.
    4. If atoms are left, they take the places of the parent that are free; the others are symmetric.

    Moves that exploit approximate symmetry of clusters: M. T. Oakley, R. L. Johnston and D. J. Wales, Phys. Chem. Chem. Phys. 15, 3965
    (2013), doi:10.1039/c3cp44332a; the choice of the operation and of the orbits here is a simpler one.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        diameter: largest distance of two atoms of a child, Å; None for that of its parent.
    """

    packing: Packing
    diameter: float | None = None

    name = "symmetrise"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of higher symmetry.

        Raises:
            NotPlaced: the atoms left over do not find free places, or atoms are too close or too far apart.
        """
        start = cluster_of(self.packing, parents[0])
        smallest = limits(self.packing, parents)

        def attempt() -> Atoms:
            cluster = start._replace(positions=start.positions - likely_centre(start.positions, rng))
            if rng.random() < 0.5:
                trials = [_operation(cluster.positions, rng) for _ in range(TRIALS)]
                operation = min(trials, key=lambda trial: float((_distances(cluster, cluster.positions @ trial.T) ** 2).mean()))
                order = np.argsort([_misfit(cluster, orbit) for orbit in orbits(cluster, operation, smallest)], kind="stable")
            else:
                operation = _operation(cluster.positions, rng)
                order = _by_sector(cluster.positions, rng)
            child = completed(cluster, orbits(cluster, operation, smallest), order, smallest)
            return finished_cluster(self.packing, child, parents, self.diameter, operation)

        return first_placed(attempt, ATTEMPTS)


def _operation(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random (3, 3) orthogonal matrix of finite order about a likely axis."""
    rotation = turned(likely_axis(positions, rng), 2.0 * np.pi / float(rng.choice(FOLDS)))
    return -rotation if rng.random() < 1 / 3 else rotation


def _distances(cluster: Cluster, sites: np.ndarray, species: np.ndarray | None = None) -> np.ndarray:
    """Return the distance of each of (M, 3) sites from the nearest atom of its species, by default of those of the atoms in order."""
    species = cluster.species if species is None else species
    distances = np.linalg.norm(sites[:, None] - cluster.positions, axis=2)
    return np.where(species[:, None] == cluster.species, distances, np.inf).min(axis=1)


class Orbit(NamedTuple):
    """Sites of one species that an operation maps onto each other.

    Attributes:
        sites: (M, 3) positions, Å.
        kind: index of the species.
    """

    sites: np.ndarray
    kind: int


def _misfit(cluster: Cluster, orbit: Orbit) -> float:
    """Return the mean distance of the sites of an orbit from the nearest atoms, Å; small for orbits that the parent fills."""
    return float(_distances(cluster, orbit.sites, np.full(len(orbit.sites), orbit.kind)).mean())


def _by_sector(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the atoms in the order of their angle to a random direction, so that those of one sector come first."""
    direction = rng.normal(size=3)
    return np.argsort(-(positions @ direction) / np.maximum(np.linalg.norm(positions, axis=1), 1e-6), kind="stable")


def orbits(cluster: Cluster, operation: np.ndarray, smallest: np.ndarray) -> list[Orbit]:
    """Return the orbit of each atom under the powers of an operation.

    Args:
        cluster: atoms of the parent.
        operation: (3, 3) orthogonal matrix of finite order.
        smallest: (S, S) smallest distances, Å.
    """
    powers = [np.eye(3)]
    while len(powers) < 2 * max(FOLDS) and not np.allclose(operation @ powers[-1], np.eye(3), atol=1e-9):
        powers.append(operation @ powers[-1])
    images = np.stack([cluster.positions @ power.T for power in powers], axis=1)
    made = []
    for own, kind in zip(images, cluster.species, strict=True):
        size = len(powers)
        # Images under a subgroup merge if they are too close; the site is then their mean, which the subgroup leaves invariant.
        for divisor in (d for d in range(len(powers), 0, -1) if len(powers) % d == 0):
            size = divisor
            sites = own.reshape(len(powers) // divisor, divisor, 3).mean(axis=0)
            gaps = np.linalg.norm(sites[:, None] - sites, axis=2)[np.triu_indices(divisor, 1)]
            if gaps.min(initial=np.inf) >= OVERLAP * smallest[kind, kind]:
                break
        made.append(Orbit(own.reshape(len(powers) // size, size, 3).mean(axis=0), int(kind)))
    return made


def completed(cluster: Cluster, choices: list[Orbit], order: np.ndarray, smallest: np.ndarray) -> Cluster:
    """Return a cluster of whole orbits, and of single atoms of the parent where the orbits left do not fit.

    Args:
        cluster: atoms of the parent.
        choices: orbit of each atom.
        order: indices of the atoms in the order in which their orbits are tried.
        smallest: (S, S) smallest distances, Å.

    Raises:
        NotPlaced: the atoms left over do not find free places.
    """
    left = np.bincount(cluster.species, minlength=len(smallest))
    positions, species = np.empty((0, 3)), np.empty(0, dtype=int)
    singles = [Orbit(cluster.positions[k : k + 1], int(cluster.species[k])) for k in order]
    for orbit in [*(choices[k] for k in order), *singles]:
        if len(orbit.sites) > left[orbit.kind]:
            continue
        distances = np.linalg.norm(orbit.sites[:, None] - positions, axis=2)
        if (distances < OVERLAP * smallest[orbit.kind, species]).any():
            continue
        positions = np.concatenate([positions, orbit.sites])
        species = np.concatenate([species, np.full(len(orbit.sites), orbit.kind)])
        left[orbit.kind] -= len(orbit.sites)
    if left.any():
        raise NotPlaced("the atoms left over do not find free places")
    return Cluster(positions, species)
