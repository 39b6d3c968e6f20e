"""Fingerprint of the last hidden layer of a trained committee.

It distinguishes what the committee has learned to distinguish, and depends on the training.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput
from nucleate.fingerprints.base import VectorFingerprint, pooled, structure_chunks, unit_vectors
from nucleate.potentials.base import Potential
from nucleate.potentials.manybody import ManyBodyCommittee


class Latent(VectorFingerprint):
    """Mean and standard deviation of the hidden units over the atoms of each species, as a unit vector.

    Args:
        potential: a committee of the family `manybody`, or a correction by one.

    Raises:
        BadInput: the potential belongs to another family.
    """

    name: ClassVar[str] = "committee's latent"

    def __init__(self, potential: Potential):
        learned = getattr(potential, "learned", potential)
        if not isinstance(learned, ManyBodyCommittee):
            raise BadInput("the latent fingerprint needs a committee of the family 'manybody'; choose another fingerprint")
        super().__init__(learned.species)
        self.committee = learned

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, 2 * n_species * members * hidden) unit vectors."""
        parts = []
        for chosen in structure_chunks(batch, self.committee.cutoff, 5e4):
            part = batch.select(chosen)
            kinds = self.kinds(part)
            rows = self.committee.latent(part).to(batch.positions.dtype)
            parts.append(unit_vectors(pooled(rows, kinds, part.structure, part.counts, len(self.species))))
        return torch.cat(parts)
