"""SPRINT coordinates: sqrt(N) lambda v_i with the largest eigenvalue and eigenvector of the contact matrix, sorted for each element.

F. Pietrucci and W. Andreoni, Phys. Rev. Lett. 107, 085504 (2011), doi 10.1103/PhysRevLett.107.085504. In a crystal the contact of two atoms
is the sum over all images. If the graph falls into parts, the eigenvector is that of the part with the largest eigenvalue; it is not
continuous where two parts exchange places, and it depends on the cell if two are equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.base import VectorFingerprint
from nucleate.fingerprints.contacts import contacts
from nucleate.fingerprints.profiles import sorted_profiles


class Sprint(VectorFingerprint):
    """Sorted SPRINT coordinates of the atoms of each element, as profiles over its atoms.

    Args:
        species: see `Fingerprint`.
        cutoff: largest distance of a contact, Å.
        stretch: distance at which the contact is one half, in sums of covalent radii.
        bins: number of bins of a profile.
    """

    name: ClassVar[str] = "SPRINT"

    def __init__(self, species: Sequence[int], cutoff: float = 6.0, stretch: float = 1.2, bins: int = 60):
        super().__init__(species)
        self.cutoff, self.stretch, self.bins = cutoff, stretch, bins

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, n_species * bins) vectors."""
        kinds = self.kinds(batch)
        edges, value = contacts(batch, self.cutoff, self.stretch)
        counts = batch.counts
        starts = torch.cumsum(counts, 0) - counts
        most = int(counts.max())
        first = starts[batch.structure[edges.centre]]
        matrix = value.new_zeros(len(batch) * most * most)
        row = batch.structure[edges.centre] * most**2 + (edges.centre - first) * most + edges.neighbour - first
        matrix = matrix.index_add_(0, row, value).view(len(batch), most, most)
        # Missing atoms of smaller structures have no contacts and components of zero.
        largest, vectors = torch.linalg.eigh(0.5 * (matrix + matrix.transpose(1, 2)))
        component = vectors[:, :, -1].abs() * (largest[:, -1] * counts.to(value.dtype).sqrt()).unsqueeze(1)
        coordinate = component[batch.structure, torch.arange(len(kinds)) - starts[batch.structure]]
        parts = []
        for kind in range(len(self.species)):
            mine = kinds == kind
            owner = batch.structure[mine]
            parts.append(sorted_profiles(coordinate[mine], owner, torch.bincount(owner, minlength=len(batch)), 1.0, self.bins))
        return torch.cat(parts, 1)
