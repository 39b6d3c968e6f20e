"""Fingerprint of a crystal: mean and standard deviation of the power spectrum of the atomic basis over the atoms of each species.

p_skl(i) = sum_m |A_sklm(i)|^2 is the diagonal of the SOAP power spectrum (A. P. Bartók et al., Phys. Rev. B 87, 184115 (2013),
doi 10.1103/PhysRevB.87.184115). The standard deviation is included because the mean does not distinguish one defect site from many
slightly distorted sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import VectorFingerprint, pooled, unit_vectors
from nucleate.potentials.basis import DEGREES, L_MAX, N_LM
from nucleate.potentials.edge_basis import EdgeBasis, make_layout

CUTOFF = 6.0
RADIAL = 8
CHUNK = 200


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


def pooled_spectra(batch: CrystalBatch, species: list[int], dtype: torch.dtype) -> Tensor:
    """Return the fingerprints of a batch as unit vectors of a floating-point type; `species` are ascending atomic numbers."""
    power = power_spectra(batch, species, RADIAL, CUTOFF, dtype)
    kinds = torch.searchsorted(torch.tensor(species), batch.numbers)
    return unit_vectors(pooled(power, kinds, batch.structure, batch.counts, len(species)))


class PooledPowerSpectrum(VectorFingerprint):
    """Mean and standard deviation of the power spectra, as unit vectors; the fingerprint of the search."""

    name: ClassVar[str] = "pooled power spectrum"

    @property
    def width(self) -> int:
        """Length of the vectors."""
        return 2 * len(self.species) ** 2 * RADIAL * (L_MAX + 1)

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, 2 * n_species² * 8 * 4) unit vectors."""
        self.kinds(batch)
        chunks = torch.arange(len(batch)).split(CHUNK)
        return torch.cat([pooled_spectra(batch.select(chosen), list(self.species), batch.positions.dtype) for chosen in chunks])
