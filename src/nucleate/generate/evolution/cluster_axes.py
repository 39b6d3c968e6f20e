"""Centres and axes about which clusters are likely to be symmetric."""

from __future__ import annotations

import numpy as np


def likely_centre(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a point in Å: with equal probabilities the centroid, the atom nearest to it, or the centroid without the outermost atoms.

    A misplaced atom moves the centroid away from the centre of a symmetric core.

    Args:
        positions: (N, 3) positions, Å.
        rng: random number generator.
    """
    centroid = positions.mean(axis=0)
    order = np.argsort(np.linalg.norm(positions - centroid, axis=1), kind="stable")
    kind = int(rng.integers(3))
    if kind == 0:
        return np.asarray(centroid)
    if kind == 1:
        return np.asarray(positions[order[0]])
    kept = len(positions) - int(rng.integers(len(positions) // 3 + 1))
    return np.asarray(positions[order[:kept]].mean(axis=0))


def likely_axis(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a unit vector: with equal probabilities a principal axis, the direction of an atom or of the middle of two, or a random one.

    Args:
        positions: (N, 3) positions, Å, with the centre of symmetry at the origin.
        rng: random number generator.
    """
    kind = int(rng.integers(3))
    axis = rng.normal(size=3)
    if kind == 0 and len(positions) > 1:
        axis = np.linalg.svd(positions, full_matrices=True)[2][rng.integers(3)]
    elif kind == 1 and len(positions) > 1:
        pair = positions[rng.choice(len(positions), 2, replace=False)]
        middle = pair[0] if rng.random() < 0.5 else pair.mean(axis=0)
        axis = middle if np.linalg.norm(middle) > 0.1 else axis
    return np.asarray(axis / np.linalg.norm(axis))
