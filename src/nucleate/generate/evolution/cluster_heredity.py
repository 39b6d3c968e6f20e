"""Cut and splice of two clusters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.cluster_finishing import Cluster, cluster_of, finished_cluster
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

CENTRAL = 0.5
"""Probability that the plane goes through the centroid of the first parent."""


@dataclass(frozen=True, eq=False)
class ClusterHeredity:
    """Cut and splice of two clusters.

    Both parents are rotated at random about their centroids and cut by a horizontal plane. The child consists of the atoms of the first
    parent above the plane and, for each species, of as many of the lowest atoms of the second parent as are missing. The second parent is
    shifted vertically so that its part ends at the plane. The plane goes through the centroid of the first parent in half of the cases, and
    otherwise between two atoms chosen at random.

    Source: D. M. Deaven and K. M. Ho, Phys. Rev. Lett. 75, 288 (1995), doi:10.1103/PhysRevLett.75.288.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        diameter: largest distance of two atoms of a child, Å; None for that of its parents.
    """

    packing: Packing
    diameter: float | None = None

    name = "heredity"
    parents = 2

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of parts of both parents; raise `NotPlaced` if atoms of all children tried are too close or it is too large."""
        first, second = (cluster_of(self.packing, atoms) for atoms in parents)

        def attempt() -> Atoms:
            return finished_cluster(self.packing, spliced(first, second, rng), parents, self.diameter)

        return first_placed(attempt)


def spliced(first: Cluster, second: Cluster, rng: np.random.Generator) -> Cluster:
    """Return the upper part of one cluster on the lower part of another; raise `NotPlaced` if one of them gives no atom."""
    upper, lower = (cluster.positions @ Rotation.random(rng=rng).as_matrix().T for cluster in (first, second))
    heights = np.sort(upper[:, 2])
    plane = 0.0
    if rng.random() >= CENTRAL and len(heights) > 1:
        k = int(rng.integers(1, len(heights)))
        plane = 0.5 * float(heights[k - 1] + heights[k])
    above = upper[:, 2] > plane
    if not above.any() or above.all():
        raise NotPlaced("the plane does not cut the cluster")
    below = np.zeros(len(lower), dtype=bool)
    for kind in np.unique(second.species):
        own = np.flatnonzero(second.species == kind)
        missing = int(np.sum(~above[first.species == kind]))
        below[own[np.argsort(lower[own, 2], kind="stable")[:missing]]] = True
    # The plane of the second parent lies between its highest atom in the child and the lowest of the others.
    shift = plane - 0.5 * float(lower[below, 2].max() + lower[~below, 2].min())
    positions = np.concatenate([upper[above], lower[below] + [0.0, 0.0, shift]])
    return Cluster(positions, np.concatenate([first.species[above], second.species[below]]))
