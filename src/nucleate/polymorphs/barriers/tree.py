"""Lowest barriers through any intermediates, and the disconnectivity graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Merge:
    """A branching of the graph: two groups of minima become connected at a height.

    Attributes:
        height: height, eV/atom.
        left, right: minima of each group, ascending.
        edge: index of the path that connects them.
    """

    height: float
    left: tuple[int, ...]
    right: tuple[int, ...]
    edge: int


@dataclass(frozen=True)
class Tree:
    """Disconnectivity graph of n minima.

    Attributes:
        merges: branchings, the lowest first.
        heights: (n, n) lowest highest point of all paths between two minima, eV/atom; infinite without a path, the energy on the diagonal.
        bottleneck: (n, n) index of the path with that point; -1 on the diagonal and without a path.
    """

    merges: list[Merge]
    heights: np.ndarray
    bottleneck: np.ndarray


def disconnectivity(energies: Sequence[float], edges: Sequence[tuple[int, int, float]]) -> Tree:
    """Connect minima by paths in the order of their heights.

    Disconnectivity graph: O. M. Becker and M. Karplus, J. Chem. Phys. 106, 1495 (1997), doi 10.1063/1.473299. A path joins two groups of
    minima at its height, which is then the lowest highest point between every minimum of one group and every one of the other.

    Args:
        energies: energy of each minimum, eV/atom.
        edges: (minimum, minimum, height in eV/atom) of each path; a height below one of its ends counts as that end.
    """
    n = len(energies)
    heights = np.full((n, n), np.inf)
    np.fill_diagonal(heights, energies)
    bottleneck = np.full((n, n), -1)
    groups: dict[int, tuple[int, ...]] = {k: (k,) for k in range(n)}
    member = list(range(n))
    merges = []
    height_of = [max(height, energies[a], energies[b]) for a, b, height in edges]
    for k in sorted(range(len(edges)), key=lambda k: (height_of[k], k)):
        a, b = member[edges[k][0]], member[edges[k][1]]
        if a == b:
            continue
        left, right = sorted((groups.pop(a), groups.pop(b)))
        merges.append(Merge(height_of[k], left, right, k))
        for i in left:
            for j in right:
                heights[i, j] = heights[j, i] = height_of[k]
                bottleneck[i, j] = bottleneck[j, i] = k
        groups[a] = tuple(sorted(left + right))
        for i in groups[a]:
            member[i] = a
    return Tree(merges, heights, bottleneck)
