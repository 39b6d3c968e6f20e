"""Fingerprint of the distances of atoms to their nearest neighbours of each species, pooled over the atoms of each species.

A row holds the distances of one atom in ascending order, as in a pointwise distance distribution (see `pointwise_distances`), but
separately for each species of neighbours and counted from the cutoff: a distance r becomes max(0, cutoff - r), so that missing neighbours
of layers and clusters are zeros, and neighbours enter and leave continuously. Mean and standard deviation over the atoms make it a vector,
so thousands of structures are compared at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import VectorFingerprint, pooled, structure_chunks


class NearestDistances(VectorFingerprint):
    """Mean and standard deviation of the sorted distances over the atoms of each species, Å.

    Args:
        species: see `Fingerprint`.
        neighbours: number of neighbours of each species.
        cutoff: largest distance, Å.
    """

    name: ClassVar[str] = "nearest distances"

    def __init__(self, species: Sequence[int], neighbours: int = 60, cutoff: float = 6.0):
        super().__init__(species)
        self.neighbours, self.cutoff = neighbours, cutoff

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, 2 * n_species² * neighbours) vectors; the distance of two is a root mean square over neighbours, Å."""
        return torch.cat([self._chunk(batch.select(chosen)) for chosen in structure_chunks(batch, self.cutoff, 2e5)])

    def _chunk(self, batch: CrystalBatch) -> Tensor:
        kinds, s, n = self.kinds(batch), len(self.species), len(batch.numbers)
        edges = neighbour_edges(batch, self.cutoff)
        depth = (self.cutoff - edges.vectors(batch).norm(dim=1)).clamp_min(0)
        row = edges.centre * s + kinds[edges.neighbour]
        # One sort by row and depth: depths are below the cutoff, so they cannot reach the next row.
        order = torch.argsort(row.double() - depth.double() / (2 * self.cutoff))
        number = torch.bincount(row, minlength=n * s)
        place = torch.arange(len(row)) - (torch.cumsum(number, 0) - number)[row[order]]
        kept = place < self.neighbours
        rows = depth.new_zeros(n * s, self.neighbours)
        rows[row[order][kept], place[kept]] = depth[order][kept]
        return pooled(rows.view(n, -1) / self.neighbours**0.5, kinds, batch.structure, batch.counts, s)
