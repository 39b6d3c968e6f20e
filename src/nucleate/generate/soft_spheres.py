"""Soft spheres: overlapping atoms of a cell are pushed apart until the smallest distances are met."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PUSHES = 80
"""Largest number of soft-sphere steps."""
TARGET = 1.03
"""Distance that the soft-sphere steps aim at, relative to the limit; exactly 1 would converge slowly."""


def push_apart(
    scaled: np.ndarray,
    limits: np.ndarray,
    cell: np.ndarray,
    shifts: np.ndarray,
    project: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray | None:
    """Move overlapping atoms apart until all limits are met.

    Args:
        scaled: (N, 3) fractional positions.
        limits: (N, N) smallest distance allowed for each pair of atoms, Å.
        cell: (3, 3) lattice vectors as rows, Å, whose atoms are not too close to their own images.
        shifts: (K, 3) translations from `image_shifts` for a distance of `TARGET` times the largest limit.
        project: applied to the positions after each step; it makes a symmetry exact that many steps would lose by rounding.

    Returns:
        (N, 3) fractional positions, or None if the limits are not met after `PUSHES` steps.
    """
    inverse = np.linalg.inv(cell)
    own = np.arange(len(scaled))
    lattice = shifts @ cell
    for _ in range(PUSHES):
        difference = scaled[:, None, :] - scaled[None, :, :]
        difference -= np.round(difference)
        vectors = (difference @ cell)[:, :, None, :] + lattice
        distances = np.sqrt((vectors**2).sum(axis=-1))
        distances[own, own, :] = np.inf  # the images of an atom move with it, and the cell was checked for them
        if (distances >= limits[:, :, None]).all():
            return scaled
        overlap = np.clip(TARGET * limits[:, :, None] - distances, 0.0, None)
        steps = (0.5 * overlap / np.maximum(distances, 1e-3))[..., None] * vectors
        scaled = scaled + steps.sum(axis=(1, 2)) @ inverse
        if project is not None:
            scaled = project(scaled)
    return None
