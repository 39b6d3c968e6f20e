"""Distances in periodic cells, exact for every cell shape."""

from __future__ import annotations

import numpy as np

from nucleate.crystals.images import lattice_translations


def image_shifts(cell: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the lattice translations that can bring two atoms within the cutoff.

    Args:
        cell: (3, 3) lattice vectors as rows, Å.
        cutoff: distance, Å.

    Returns:
        (K, 3) integer translations in units of the lattice vectors, the first of which is zero. They are complete for pairs whose
        fractional difference has been rounded into [-1/2, 1/2].
    """
    shifts = lattice_translations(cell, cutoff)
    order = np.argsort((shifts != 0).any(axis=1), kind="stable")
    return shifts[order].astype(float)


def squared_distances(ends: np.ndarray, starts: np.ndarray, cell: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Return the squared distances between fractional positions for every lattice translation.

    Args:
        ends: (..., A, 3) fractional positions.
        starts: (..., B, 3) fractional positions, with the same leading axes.
        cell: (3, 3) lattice vectors as rows, Å.
        shifts: (K, 3) translations from `image_shifts`.

    Returns:
        (..., A, B, K) squared distances, Å².
    """
    difference = ends[..., :, None, :] - starts[..., None, :, :]
    difference -= np.round(difference)
    vectors = (difference @ cell)[..., None, :] + shifts @ cell
    return np.einsum("...i,...i->...", vectors, vectors)


def closest_fit(scaled: np.ndarray, cell: np.ndarray, limits: np.ndarray) -> float:
    """Return the smallest ratio of a distance to its limit in a structure.

    Args:
        scaled: (N, 3) fractional positions.
        cell: (3, 3) lattice vectors as rows, Å.
        limits: (N, N) smallest distance allowed for each pair of atoms, Å.

    Returns:
        The smallest ratio over all pairs and images, including the images of each atom itself. It is at least 1 if all limits are met,
        and infinity if no pair is within the largest limit.
    """
    shifts = image_shifts(cell, float(limits.max()))
    squared = squared_distances(scaled, scaled, cell, shifts)
    own = np.arange(len(scaled))
    squared[own, own, 0] = np.inf
    return float(np.sqrt((squared / (limits**2)[:, :, None]).min()))
