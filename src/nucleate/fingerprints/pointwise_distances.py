"""Pointwise distance distribution: the distances of each atom to its nearest neighbours.

D. Widdowson and V. Kurlin, Resolving the data ambiguity for periodic crystals, NeurIPS 35 (2022), arXiv:2108.04798. The rows of two
structures are compared by the earth mover's distance; here only rows of atoms of one element are exchanged, and the ground distance of two
rows is the largest difference of their entries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import Environments, Fingerprint
from nucleate.fingerprints.transport import transport_distances


class PointwiseDistances(Fingerprint[Environments]):
    """Distances of each atom to its nearest neighbours, whatever their element, in ascending order.

    Args:
        species: see `Fingerprint`.
        neighbours: number of neighbours.
    """

    name: ClassVar[str] = "pointwise distances"

    def __init__(self, species: Sequence[int], neighbours: int = 60):
        super().__init__(species)
        self.neighbours = neighbours

    def describe(self, batch: CrystalBatch) -> Environments:
        """Return (n_atoms, neighbours) distances, Å.

        Raises:
            BadInput: see `Fingerprint`.
        """
        self.kinds(batch)
        rows = batch.positions.new_zeros(len(batch.numbers), self.neighbours)
        density = batch.counts.double() / batch.volumes.double()
        reach = (1.5 * self.neighbours / (4 / 3 * math.pi * density)) ** (1 / 3) + 1
        left = torch.argsort(reach)
        while len(left):
            # Structures of similar density share a cutoff; those with empty space need several.
            group = left[reach[left] <= 1.2 * reach[left[0]]]
            part = batch.select(group)
            found, complete = self._nearest(part, float(reach[group].max()))
            atoms = torch.isin(batch.structure, group[complete]).nonzero().flatten()
            # `select` keeps the order of `group`, in which the atoms are written back.
            place = torch.argsort(torch.argsort(group[complete]))
            own = torch.cat([torch.arange(len(part.numbers))[part.structure == k] for k in complete.tolist()] or [atoms[:0]])
            ordered = own[torch.argsort(place.repeat_interleave(part.counts[complete]), stable=True)]
            rows[atoms] = found[ordered]
            failed = torch.ones(len(group), dtype=torch.bool)
            failed[complete] = False
            reach[group[failed]] *= 1.4
            left = torch.cat([group[failed], left[~torch.isin(left, group)]])
            left = left[torch.argsort(reach[left])]
        return Environments(rows, batch.numbers, tuple(batch.counts.tolist()))

    def _nearest(self, batch: CrystalBatch, cutoff: float) -> tuple[Tensor, Tensor]:
        """Return (n_atoms, neighbours) distances, and the indices of structures all of whose atoms have enough neighbours."""
        edges = neighbour_edges(batch, cutoff)
        distance = edges.vectors(batch).norm(dim=1)
        order = torch.argsort(distance, stable=True)
        order = order[torch.argsort(edges.centre[order], stable=True)]
        number = torch.bincount(edges.centre, minlength=len(batch.numbers))
        starts = torch.cumsum(number, 0) - number
        slots = starts.unsqueeze(1) + torch.arange(self.neighbours)
        enough = number >= self.neighbours
        short = torch.bincount(batch.structure[~enough], minlength=len(batch))
        rows = torch.where(enough.unsqueeze(1), distance[order[slots.clamp_max(len(order) - 1)]], 0.0)
        return rows, (short == 0).nonzero().flatten()

    def distances(self, one: Environments, other: Environments) -> np.ndarray:
        """Return earth mover's distances, Å."""
        return transport_distances(one, other, "chebyshev")
