"""Adapter that makes a reference a potential."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import ReferenceFailed
from nucleate.potentials.base import Prediction
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher


class ReferencePotential:
    """Reference with the interface of a potential; all calls go through the ledger.

    One instance is used for one relaxation, because it keeps the first geometry of each structure.

    Args:
        dispatcher: runs the calculations.
        purpose: purpose of the calculations, for the ledger.
        round: round of the search, for the ledger.
    """

    cutoff = 1.0

    def __init__(self, dispatcher: Dispatcher, purpose: str, round: int):
        self.dispatcher = dispatcher
        self.purpose = purpose
        self.round = round
        self.species = tuple(range(1, 119))
        self._first: dict[int, Atoms] = {}
        self.last: Label | None = None
        """Label of the last structure of the latest batch."""

    def layout(self, batch: CrystalBatch, edges: Edges) -> None:
        """Return None, since a reference has no tables of neighbours; see `Potential`."""

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False
    ) -> Prediction:
        """Label all structures of a batch; each keeps the k-points of its first geometry.

        Raises:
            ReferenceFailed: a calculation failed.
            BudgetExhausted: no reference calls are left.
        """
        structures = batch.to_atoms()
        like = [self._first.setdefault(number, atoms) for number, atoms in zip(batch.ids.tolist(), structures, strict=True)]
        answers = self.dispatcher.label_many(structures, self.purpose, self.round, like=like)
        labels = []
        for answer in answers:
            if isinstance(answer, ReferenceFailed):
                raise answer
            labels.append(answer)
        self.last = labels[-1]
        return Prediction(
            torch.tensor([[label.energy for label in labels]], dtype=torch.float64),
            torch.as_tensor(np.concatenate([label.forces for label in labels])).unsqueeze(0),
            full_from_voigt(torch.as_tensor(np.stack([label.stress for label in labels]))).unsqueeze(0),
        )
