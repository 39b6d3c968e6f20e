"""Families of structures by their distances, without a given number of families."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

FLOOR = 0.005
"""Distance of fingerprints of unit length below which structures are always the same; relaxed duplicates differ by less."""
CLEAR = 1.3
"""Smallest ratio of two successive merging distances that counts as a gap."""


def families(distances: np.ndarray, floor: float = FLOOR) -> np.ndarray:
    """Return the family of each structure.

    Structures are merged by average linkage. The merging stops at the gap: where the distance of the next merger is the largest multiple of
    the distance of the last. Copies of one structure that differ by noise merge below it, and different structures above it.

    Args:
        distances: (n, n) symmetric distances; infinity for structures that cannot be compared.
        floor: distance up to which structures are the same in any case.

    Returns:
        (n,) integers from 0, in the order of the first member. If no gap is clear, only structures within `floor` share a family.
    """
    n = len(distances)
    if n < 2:
        return np.zeros(n, dtype=int)
    finite = distances[np.isfinite(distances)]
    far = 10 * float(finite.max(initial=floor))
    matrix = np.where(np.isfinite(distances), distances, far)
    tree = linkage(squareform(0.5 * (matrix + matrix.T), checks=False), "average")
    heights = np.concatenate([[floor], np.maximum(tree[:, 2], floor)])
    # Mergers of structures that cannot be compared are no measure of a gap.
    ratios = np.where(heights[1:] < 0.5 * far, heights[1:] / heights[:-1], 1.0)
    gap = int(ratios.argmax())
    cut = np.sqrt(heights[gap] * heights[gap + 1]) if ratios[gap] > CLEAR else floor * (1 + 1e-9)
    if not np.isfinite(distances).all():
        cut = min(cut, 0.5 * far)
    labels = fcluster(tree, cut, "distance")
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    result: np.ndarray = rank[inverse]
    return result
