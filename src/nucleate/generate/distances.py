"""Distances in periodic cells, exact for any cell shape."""

from __future__ import annotations

import numpy as np

from nucleate.crystals.images import lattice_translations


def image_shifts(cell: np.ndarray, cutoff: float) -> np.ndarray:
    """Lattice translations that can bring two atoms within the cutoff.

    Args:
        cell: lattice vectors as rows (Å), (3, 3).
        cutoff: distance (Å).

    Returns:
        Whole-number translations in units of the lattice vectors, (K, 3); the first is zero. Complete for
        pairs whose fractional difference was rounded into [-1/2, 1/2].
    """
    shifts = lattice_translations(cell, cutoff)
    order = np.argsort((shifts != 0).any(axis=1), kind="stable")
    return shifts[order].astype(float)


def squared_distances(ends: np.ndarray, starts: np.ndarray, cell: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Squared distances (Å²) between fractional positions under every shift.

    Args:
        ends: (..., A, 3) fractional.
        starts: (..., B, 3) fractional, leading axes as in `ends`.
        cell: lattice vectors as rows (Å), (3, 3).
        shifts: from `image_shifts`, (K, 3).

    Returns:
        (..., A, B, K).
    """
    difference = ends[..., :, None, :] - starts[..., None, :, :]
    difference -= np.round(difference)
    vectors = (difference @ cell)[..., None, :] + shifts @ cell
    return np.einsum("...i,...i->...", vectors, vectors)


def closest_fit(scaled: np.ndarray, cell: np.ndarray, limits: np.ndarray) -> float:
    """Return the smallest ratio of a distance to its limit in a structure.

    Args:
        scaled: fractional positions, (N, 3).
        cell: lattice vectors as rows (Å), (3, 3).
        limits: smallest distance allowed for each pair of atoms (Å), (N, N).

    Returns:
        The smallest ratio of a distance to its limit over all pairs and images, an atom's own images
        included; 1 or more if all are kept (infinity if nothing is within reach).
    """
    shifts = image_shifts(cell, float(limits.max()))
    squared = squared_distances(scaled, scaled, cell, shifts)
    own = np.arange(len(scaled))
    squared[own, own, 0] = np.inf
    return float(np.sqrt((squared / (limits**2)[:, :, None]).min()))
