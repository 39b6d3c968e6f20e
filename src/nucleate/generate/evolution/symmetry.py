"""Symmetry operations of parents, with the atoms that they exchange."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import spglib

from nucleate.fingerprints.matching import SYMPREC
from nucleate.generate.evolution.lattice_choices import cell_of
from nucleate.generate.evolution.sites import Sites

HIGHEST = 48
"""Largest number of powers of an operation."""
FRACTION = 0.08
"""Largest deviation of a power of an operation from a lattice vector, in units of the lattice vectors."""


NEIGHBOURS = np.array([(a, b, c) for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0) for c in (-1.0, 0.0, 1.0)])
"""The cell itself and its 26 neighbours, in units of the lattice vectors."""


class Operations(NamedTuple):
    """Space-group operations x -> W x + w of fractional coordinates, the identity excepted.

    Attributes:
        rotations: (G, 3, 3) integer matrices W, which act on columns.
        translations: (G, 3) fractional translations w.
        images: (G, N) index of the atom onto which each operation maps each atom.
    """

    rotations: np.ndarray
    translations: np.ndarray
    images: np.ndarray

    def __len__(self) -> int:
        """Return the number of operations."""
        return len(self.rotations)


def operations(sites: Sites, symprec: float = SYMPREC) -> Operations:
    """Return the operations of a structure within a tolerance in Å; none if spglib fails."""
    nothing = Operations(np.empty((0, 3, 3), dtype=int), np.empty((0, 3)), np.empty((0, len(sites.scaled)), dtype=int))
    try:
        found = spglib.get_symmetry((sites.cell.tolist(), sites.scaled.tolist(), sites.species.tolist()), symprec)
    except Exception:  # spglib 2.7 and later raise an exception where older versions return None
        found = None
    if found is None:
        return nothing
    rotations, translations = np.asarray(found["rotations"], dtype=int), np.asarray(found["translations"])
    moved = (rotations != np.eye(3, dtype=int)).any(axis=(1, 2)) | (np.abs(translations - np.round(translations)) > 1e-3).any(axis=1)
    if not moved.any():
        return nothing
    rotations, translations = rotations[moved], translations[moved]
    images = images_of(sites, rotations, translations)
    exchanged = (np.sort(images, axis=1) == np.arange(len(sites.scaled))).all(axis=1)
    return Operations(rotations[exchanged], translations[exchanged], images[exchanged])


def images_of(sites: Sites, rotations: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return the (G, N) indices of the atoms of the same species nearest to the images of the atoms.

    A supercell has an operation for each of its translations, so that all pairs of images and atoms would not fit into memory.
    """
    # Every process would wait for this module.
    from scipy.spatial import cKDTree

    wrapped = sites.scaled % 1.0
    images = np.empty((len(rotations), len(wrapped)), dtype=int)
    moved = (np.einsum("gij,nj->gni", rotations, sites.scaled) + translations[:, None]) % 1.0
    for species in np.unique(sites.species):
        own = np.flatnonzero(sites.species == species)
        # Atoms of the neighbouring cells as well, since an image near a face may be nearest to one of them.
        points = (wrapped[own] + NEIGHBOURS[:, None]).reshape(-1, 3)
        _, nearest = cKDTree(points @ sites.cell).query(moved[:, own].reshape(-1, 3) @ sites.cell)
        images[:, own] = own[nearest % len(own)].reshape(len(rotations), len(own))
    return images


def orbits_of(images: np.ndarray) -> np.ndarray:
    """Return the (N,) smallest index of the atoms of the orbit of each atom, from the (G, N) images under operations."""
    labels = np.arange(images.shape[1])
    while True:
        lower = np.minimum(labels, labels[images].min(axis=0))
        if np.array_equal(lower, labels):
            return labels
        labels = lower


def averaged(scaled: np.ndarray, ops: Operations) -> np.ndarray:
    """Return (N, 3) fractional positions averaged over operations and the identity."""
    moved = np.einsum("gij,nj->gni", ops.rotations, scaled) + ops.translations[:, None]
    moved += np.round(scaled[ops.images] - moved)
    total = scaled.copy()
    np.add.at(total, ops.images, moved)
    return total / (len(ops) + 1)


def made_symmetric(sites: Sites, ops: Operations) -> Sites:
    """Return a structure with positions and cell averaged over a group of operations that it has approximately, at the same volume."""
    metric = sites.cell @ sites.cell.T
    turned = ops.rotations.transpose(0, 2, 1) @ metric @ ops.rotations
    cell = cell_of((metric + turned.sum(axis=0)) / (len(ops) + 1), sites.volume)
    return Sites(averaged(sites.scaled, ops), cell, sites.species)


def made_cyclic(sites: Sites, ops: Operations, k: int) -> Sites:
    """Return a structure with one of its approximate operations made exact, at the same volume."""
    scaled, _ = made_exact(sites, ops.rotations[k], ops.translations[k], ops.images[k])
    return Sites(scaled, cell_of(symmetric_metric(sites.cell @ sites.cell.T, ops.rotations[k]), sites.volume), sites.species)


def made_exact(sites: Sites, rotation: np.ndarray, translation: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the fractional positions that one operation maps onto each other exactly, and its translation.

    Positions are averaged over the powers of the operation. Its screw or glide component becomes the nearest fraction of a lattice vector.

    Args:
        sites: atoms that have the operation approximately.
        rotation: (3, 3) matrix of the operation.
        translation: (3,) translation of the operation.
        images: (N,) index of the atom onto which the operation maps each atom.
    """
    order, power, whole = 1, rotation, translation
    # The first power that is a lattice vector, which need not be the first that has no rotation.
    while order < HIGHEST and not (np.array_equal(power, np.eye(3)) and np.abs(whole - np.round(whole)).max() < FRACTION):
        order, power, whole = order + 1, rotation @ power, translation + rotation @ whole
    translation = translation + (np.round(whole) - whole) / order
    moved, reached = sites.scaled, np.arange(len(sites.scaled))
    total = np.zeros_like(sites.scaled)
    for _ in range(order):
        total[reached] += moved + np.round(sites.scaled[reached] - moved)
        moved, reached = moved @ rotation.T + translation, images[reached]
    return total / order, translation


def symmetric_metric(metric: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return the (3, 3) metric tensor averaged over the powers of a rotation, which leaves it invariant."""
    total, power, count = metric.copy(), rotation, 1
    while not np.array_equal(power, np.eye(3, dtype=int)):
        total += power.T @ metric @ power
        power, count = rotation @ power, count + 1
    return total / count
