"""Choices of the lattice vectors of a crystal, and the comparison of cells independently of their orientation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nucleate.generate.evolution.sites import Sites

STRETCH = 1.35
"""Largest sum of the squared lengths of chosen lattice vectors, relative to the smallest one."""


@lru_cache(maxsize=1)
def _unimodular() -> np.ndarray:
    """Return all (M, 3, 3) integer matrices of elements -1, 0 and 1 with determinant 1 or -1."""
    matrices = np.stack(np.meshgrid(*[[-1, 0, 1]] * 9, indexing="ij"), axis=-1).reshape(-1, 3, 3)
    return matrices[np.abs(np.round(np.linalg.det(matrices))) == 1]


def lattice_choices(cell: np.ndarray) -> np.ndarray:
    """Return (M, 3, 3) integer matrices U whose lattice vectors U @ cell are nearly as short as those of a reduced cell.

    They include all permutations and signs of the vectors. Choices of negative determinant describe the mirror image of the crystal if
    its metric tensor is used without the orientation.
    """
    matrices = _unimodular()
    squared = ((matrices @ cell) ** 2).sum(axis=(1, 2))
    return matrices[squared <= STRETCH * squared.min()]


def metrics(cell: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Return the (M, 3, 3) metric tensors of chosen lattice vectors, for a volume of 1."""
    tensor = cell @ cell.T / abs(np.linalg.det(cell)) ** (2 / 3)
    return choices @ tensor @ choices.transpose(0, 2, 1)


def dissimilarity(metric: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (M,) numbers that are zero for equal metric tensors of volume 1 and grow with the strain between the cells."""
    forward = np.einsum("ij,mji->m", np.linalg.inv(metric), others)
    return forward + np.einsum("mij,ji->m", np.linalg.inv(others), metric) - 6.0


def with_vectors(sites: Sites, choice: np.ndarray) -> Sites:
    """Return the atoms with the lattice vectors choice @ cell."""
    return sites._replace(scaled=sites.scaled @ np.linalg.inv(choice), cell=choice @ sites.cell)


def cell_of(metric: np.ndarray, volume: float) -> np.ndarray:
    """Return right-handed (3, 3) lattice vectors as rows (Å) of a metric tensor, scaled to a volume in Å³."""
    cell = np.linalg.cholesky(metric)
    return cell * (volume / np.linalg.det(cell)) ** (1 / 3)
