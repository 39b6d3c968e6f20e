"""Fingerprint of the radial distribution functions of all pairs of species.

F_ab(R) = sum over pairs of Gaussians in R - r_ij, divided by 4 pi R² N_a N_b / V, minus 1: A. R. Oganov and M. Valle,
J. Chem. Phys. 130, 104504 (2009), doi 10.1063/1.3079326. A smooth cutoff makes it continuous.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import VectorFingerprint, smooth_cutoff, structure_chunks, unit_vectors


class RadialDistribution(VectorFingerprint):
    """Radial distribution functions on a grid, weighted by the shares of the pairs and scaled to unit length.

    Args:
        species: see `Fingerprint`.
        cutoff: largest distance, Å.
        sigma: standard deviation of the Gaussians, Å.
        points: number of points of the grid.
    """

    name: ClassVar[str] = "radial distribution"

    def __init__(self, species: Sequence[int], cutoff: float = 8.0, sigma: float = 0.1, points: int = 120):
        super().__init__(species)
        self.cutoff, self.sigma, self.points = cutoff, sigma, points

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, n_species * (n_species + 1) / 2 * points) unit vectors."""
        return torch.cat([self._chunk(batch.select(chosen)) for chosen in structure_chunks(batch, self.cutoff, 5e4)])

    def _chunk(self, batch: CrystalBatch) -> Tensor:
        kinds, s, n = self.kinds(batch), len(self.species), len(batch)
        edges = neighbour_edges(batch, self.cutoff)
        distance = edges.vectors(batch).norm(dim=1)
        one, two = kinds[edges.centre], kinds[edges.neighbour]
        low, high = torch.minimum(one, two), torch.maximum(one, two)
        pair = low * s - low * (low - 1) // 2 + high - low
        n_pairs = s * (s + 1) // 2
        row = batch.structure[edges.centre] * n_pairs + pair
        grid = torch.linspace(self.cutoff / self.points, self.cutoff, self.points, dtype=distance.dtype)
        norm = 1 / (math.sqrt(2 * math.pi) * self.sigma)
        smeared = norm * torch.exp(-0.5 * ((grid - distance.unsqueeze(1)) / self.sigma) ** 2)
        weight = smooth_cutoff(distance, self.cutoff).unsqueeze(1)
        density = distance.new_zeros(n * n_pairs, self.points).index_add_(0, row, smeared * weight).view(n, n_pairs, self.points)
        number = torch.zeros(n, s, dtype=distance.dtype).index_put_(
            (batch.structure, kinds), torch.ones((), dtype=distance.dtype), accumulate=True
        )
        first, second = torch.triu_indices(s, s)
        # Directed pairs count each pair of two species twice.
        twice = torch.where(first == second, 1.0, 2.0)
        pairs = number[:, first] * number[:, second] * twice
        expected = 4 * math.pi * pairs.unsqueeze(2) / batch.volumes.to(distance.dtype).view(-1, 1, 1) * grid**2
        function = density / expected.clamp_min(1e-12) - smooth_cutoff(grid, self.cutoff) * (pairs > 0).unsqueeze(2)
        share = (pairs / pairs.sum(1, keepdim=True)).sqrt().unsqueeze(2)
        return unit_vectors((function * share).flatten(1))
