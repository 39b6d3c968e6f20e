"""Fingerprint of a crystal: mean and standard deviation of the power spectrum of the atomic basis over the atoms of each species.

p_skl(i) = sum_m |A_sklm(i)|^2 is the diagonal of the SOAP power spectrum (A. P. Bartók et al., Phys. Rev. B 87, 184115 (2013),
doi 10.1103/PhysRevB.87.184115). The standard deviation is included because the mean does not distinguish one defect site from many
slightly distorted sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import VectorFingerprint, pooled, unit_vectors
from nucleate.potentials.basis import DEGREES, L_MAX, N_LM
from nucleate.potentials.edge_basis import EdgeBasis, make_layout

CUTOFF = 6.0
RADIAL = 8
CHUNK = 200
TOLERANCE = 0.03
"""Largest distance between fingerprints of one crystal. Relaxed duplicates differ by at most 0.01; diamond and lonsdaleite by 0.04."""


def power_spectra(batch: CrystalBatch, species: Sequence[int], radial: int, cutoff: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Power spectra of the atoms of a batch.

    Args:
        batch: Structures.
        species: All atomic numbers that occur; their order is that of the blocks of features.
        radial: Number of radial functions.
        cutoff: Cutoff radius in Å.
        dtype: Floating-point type of the calculation.

    Returns:
        (n_atoms, n_species * 4 * radial): p_skl for l = 0..3 of each neighbour species s.
    """
    edges = neighbour_edges(batch, cutoff)
    index = torch.full((120,), -1, dtype=torch.int64)
    index[torch.tensor(species)] = torch.arange(len(species))
    layout = make_layout(batch, edges, index, len(species), 4000)
    basis = EdgeBasis.compute(layout, edges.vectors(batch).to(dtype), radial, cutoff)
    degree_sum = torch.zeros(L_MAX + 1, N_LM, dtype=dtype)
    degree_sum[torch.tensor(DEGREES), torch.arange(N_LM)] = 1.0
    return (degree_sum @ basis.atomic**2).reshape(len(batch.numbers), -1)


def fingerprints(structures: Sequence[Atoms], species: Sequence[int]) -> np.ndarray:
    """Return the fingerprints of structures as unit vectors.

    Args:
        structures: periodic structures.
        species: all atomic numbers that occur in the structures to be compared.

    Returns:
        (n_structures, 2 * n_species^2 * 8 * 4) float32, to be compared by Euclidean distance.
    """
    species = sorted(species)
    width = 2 * len(species) ** 2 * RADIAL * (L_MAX + 1)
    if not structures:
        return np.zeros((0, width), dtype=np.float32)
    return np.concatenate([_chunk(structures[k : k + CHUNK], species) for k in range(0, len(structures), CHUNK)])


def _chunk(structures: Sequence[Atoms], species: list[int]) -> np.ndarray:
    """Return the fingerprints of at most `CHUNK` structures."""
    result: np.ndarray = pooled_spectra(CrystalBatch.from_atoms(structures), species, torch.float32).numpy()
    return result


def pooled_spectra(batch: CrystalBatch, species: list[int], dtype: torch.dtype) -> Tensor:
    """Return the fingerprints of a batch as unit vectors of a floating-point type; `species` are ascending atomic numbers."""
    power = power_spectra(batch, species, RADIAL, CUTOFF, dtype)
    kinds = torch.searchsorted(torch.tensor(species), batch.numbers)
    return unit_vectors(pooled(power, kinds, batch.structure, batch.counts, len(species)))


class PooledPowerSpectrum(VectorFingerprint):
    """Mean and standard deviation of the power spectra, with which a search finds duplicates; see `fingerprints`."""

    name: ClassVar[str] = "pooled power spectrum"

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, 2 * n_species² * 8 * 4) unit vectors."""
        self.kinds(batch)
        chunks = torch.arange(len(batch)).split(CHUNK)
        return torch.cat([pooled_spectra(batch.select(chosen), list(self.species), batch.positions.dtype) for chosen in chunks])


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
