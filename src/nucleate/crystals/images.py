"""Lattice translations within a cutoff, complete for any cell shape."""

from __future__ import annotations

import numpy as np


def plane_distances(cell: np.ndarray) -> np.ndarray:
    """(3,) Å between neighbouring lattice planes across each cell vector."""
    result: np.ndarray = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return result


def lattice_translations(cell: np.ndarray, cutoff: float, low: float | np.ndarray = -0.5, high: float | np.ndarray = 0.5) -> np.ndarray:
    """Return the lattice translations that can bring two points within a cutoff.

    A vector with fractional coordinates f is at least |f_k| times the distance of the lattice planes across axis k long. The
    translations n returned are therefore all those with |f_k + n_k| d_k <= cutoff for some f between `low` and `high`; some of them
    may exceed the cutoff.

    Args:
        cell: Lattice vectors as rows in Å, (3, 3).
        cutoff: Largest distance in Å.
        low, high: Range of the fractional difference of the points, one number or (3,); by default that of the nearest image along
            each axis.

    Returns:
        Integers (n, 3) in units of the lattice vectors, in ascending order of the first, second and third.
    """
    margin = cutoff / plane_distances(cell)
    first = np.ceil(-margin - high).astype(int)
    last = np.floor(margin - low).astype(int)
    axes = (np.arange(a, b + 1) for a, b in zip(first, last, strict=True))
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
