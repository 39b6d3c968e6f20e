"""Rotation of one part of a cluster against the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.crystals.point_groups import turned
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.cluster_axes import likely_axis
from nucleate.generate.evolution.cluster_finishing import Cluster, cluster_of, finished_cluster
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

ANGLE = (np.pi / 12, np.pi)
"""Range of the angle of a twist, radians."""


@dataclass(frozen=True, eq=False)
class ClusterTwist:
    """Twist of a cluster.

    A plane perpendicular to an axis through the centroid divides the cluster between two of its atoms. The part above the plane is rotated
    about the axis by 15 to 180 degrees in either direction. The axis is a principal axis, the direction of an atom, or random.

    The move is the piece rotation in the review of genetic algorithms in Algorithms 2, 410 (2009), https://www.mdpi.com/1999-4893/2/1/410.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        diameter: largest distance of two atoms of a child, Å; None for that of its parent.
    """

    packing: Packing
    diameter: float | None = None

    name = "twist"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a twisted child; raise `NotPlaced` if the cluster cannot be divided, or if atoms are too close or too far apart."""
        cluster = cluster_of(self.packing, parents[0])

        def attempt() -> Atoms:
            return finished_cluster(self.packing, twisted(cluster, rng), parents, self.diameter)

        return first_placed(attempt)


def twisted(cluster: Cluster, rng: np.random.Generator) -> Cluster:
    """Return a cluster whose part above a plane is rotated; raise `NotPlaced` if all atoms lie in one plane across the axis."""
    axis = likely_axis(cluster.positions, rng)
    heights = cluster.positions @ axis
    levels = np.unique(np.round(heights, 3))
    if len(levels) < 2:
        raise NotPlaced("no plane divides the cluster")
    k = int(rng.integers(1, len(levels)))
    above = heights > 0.5 * (levels[k - 1] + levels[k])
    rotation = turned(axis, float(rng.choice([-1.0, 1.0]) * rng.uniform(*ANGLE)))
    positions = cluster.positions.copy()
    positions[above] = positions[above] @ rotation.T
    return cluster._replace(positions=positions)
