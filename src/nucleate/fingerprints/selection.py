"""Fingerprints with which a search compares candidates, and selections by their distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.matching import TOLERANCE, same_crystal
from nucleate.fingerprints.power_spectrum import PooledPowerSpectrum

SURE = 0.005
"""Distance below which two fingerprints are those of one crystal. Between this and `TOLERANCE` there are duplicates and polytypes: the
fingerprints of 4H and 6H SiC differ by 0.02, those of dhcp and 6H La by 0.007."""
MATCHED = 100
"""Number of clusters beyond which `leaders` no longer tells polytypes apart, which takes 10 ms a pair."""
TRIED = 3
"""Number of nearest structures with which a structure is compared by the matcher."""


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


def leaders(vectors: np.ndarray, order: np.ndarray, tolerance: float, structures: Sequence[Atoms] | None = None) -> list[int]:
    """Return the structures, taken in `order`, that differ from all structures returned before them.

    Args:
        vectors: (n, d) fingerprints.
        order: indices.
        tolerance: largest distance between fingerprints of one crystal.
        structures: the n structures, which `same_minimum` compares for the first `MATCHED` leaders; None: structures whose
            fingerprints are within the tolerance are the same.
    """
    heads: list[int] = []
    for k in order:
        others = structures if structures is not None and len(heads) < MATCHED else None
        mine = None if others is None else others[k]
        if not heads or not _seen(mine, vectors[k], others, vectors, np.array(heads), tolerance):
            heads.append(int(k))
    return heads


def same_minimum(one: Atoms, other: Atoms, distance: float, tolerance: float = TOLERANCE) -> bool:
    """Return whether two relaxed structures are one crystal.

    Args:
        one, other: the structures.
        distance: distance of their fingerprints.
        tolerance: distance above which they differ; between `SURE` and this, pymatgen's matcher decides.
    """
    return distance <= tolerance and (distance <= SURE or same_crystal(one, other))


def unlike(
    structures: Sequence[Atoms], vectors: np.ndarray, others: Sequence[Atoms], their_vectors: np.ndarray, tolerance: float = TOLERANCE
) -> np.ndarray:
    """Return (n,) whether each structure differs from all others; see `same_minimum`.

    Args:
        structures: n structures.
        vectors: (n, d) their fingerprints.
        others: m structures.
        their_vectors: (m, d) fingerprints of these.
        tolerance: largest distance between fingerprints of one crystal.
    """
    places = np.arange(len(others))
    return np.array(
        [not _seen(atoms, vector, others, their_vectors, places, tolerance) for atoms, vector in zip(structures, vectors, strict=True)],
        dtype=bool,
    )


def _seen(
    atoms: Atoms | None, vector: np.ndarray, others: Sequence[Atoms] | None, vectors: np.ndarray, places: np.ndarray, tolerance: float
) -> bool:
    """Return whether a structure is the same as one of the others at `places`, of which the nearest are compared."""
    if len(places) == 0:
        return False
    distances = np.linalg.norm(vectors[places] - vector, axis=1)
    close = np.flatnonzero(distances <= tolerance)
    if len(close) == 0:
        return False
    if atoms is None or others is None:
        return True
    return same_as(atoms, vector, [others[k] for k in places], vectors[places], tolerance) is not None


def same_as(atoms: Atoms, vector: np.ndarray, others: Sequence[Atoms], vectors: np.ndarray, tolerance: float = TOLERANCE) -> int | None:
    """Return which of the others a structure is, by `same_minimum` with the nearest ones; None if it is none of them.

    Args:
        atoms: the structure.
        vector: (d,) its fingerprint.
        others: m structures.
        vectors: (m, d) their fingerprints.
        tolerance: largest distance between fingerprints of one crystal.
    """
    distances = np.linalg.norm(vectors - vector, axis=1)
    for k in np.argsort(distances, kind="stable")[:TRIED]:
        if same_minimum(atoms, others[k], float(distances[k]), tolerance):
            return int(k)
    return None


def distinct(structures: Sequence[Atoms], species: Sequence[int], tolerance: float = TOLERANCE) -> list[int]:
    """Return the indices of structures that differ from all earlier ones."""
    return leaders(fingerprints(structures, species), np.arange(len(structures)), tolerance, structures)


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
