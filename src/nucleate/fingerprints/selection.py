"""Fingerprints with which a search compares candidates, and selections by their distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.power_spectrum import PooledPowerSpectrum

TOLERANCE = 0.03
"""Largest distance between fingerprints of one crystal. Relaxed duplicates differ by at most 0.01; diamond and lonsdaleite by 0.04."""


def fingerprints(structures: Sequence[Atoms], species: Sequence[int]) -> np.ndarray:
    """Return the fingerprints of structures as unit vectors, which are compared by Euclidean distance; see `PooledPowerSpectrum`.

    Args:
        structures: crystals, layers or clusters.
        species: all atomic numbers that occur in the structures to be compared.

    Returns:
        (n_structures, d) float32.
    """
    fingerprint = PooledPowerSpectrum(species)
    if not structures:
        return np.zeros((0, fingerprint.width), dtype=np.float32)
    result: np.ndarray = fingerprint.describe(CrystalBatch.from_atoms(structures, torch.float32)).numpy()
    return result


def leaders(vectors: np.ndarray, order: np.ndarray, tolerance: float) -> list[int]:
    """Return the structures, taken in `order`, whose distance to all structures returned before them exceeds `tolerance`."""
    heads: list[int] = []
    for k in order:
        if not heads or np.linalg.norm(vectors[heads] - vectors[k], axis=1).min() > tolerance:
            heads.append(int(k))
    return heads


def distinct(structures: Sequence[Atoms], species: Sequence[int], tolerance: float = TOLERANCE) -> list[int]:
    """Return the indices of structures that differ from all earlier ones."""
    return leaders(fingerprints(structures, species), np.arange(len(structures)), tolerance)


def nearest(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (n,) distance of each vector to the nearest of the others; infinity if there are no others."""
    if len(others) == 0:
        return np.full(len(vectors), np.inf)
    square = (vectors**2).sum(1)[:, None] + (others**2).sum(1)[None] - 2 * vectors @ others.T
    result: np.ndarray = np.sqrt(np.maximum(square, 0).min(1))
    return result


def farthest_points(vectors: np.ndarray, count: int, first: int) -> list[int]:
    """Return the indices of `count` vectors by farthest-point selection, starting with `first`."""
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < min(count, len(vectors)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return chosen
