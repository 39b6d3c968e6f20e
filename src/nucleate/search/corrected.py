"""Surfaces for confirmation: the committee shifted to agree with a label, and the reference itself."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import ReferenceFailed
from nucleate.potentials.base import Potential, Prediction
from nucleate.reference.dispatch import Dispatcher


class CorrectedPotential:
    """A committee's mean plus the constant forces and stress by which a label differed from it.

    Near the label, this has the reference's gradient and the committee's curvature; its minimum is a quasi-Newton step
    towards the reference's minimum.

    Args:
        potential: the committee.
        atoms: the labelled structure.
        forces: (n_atoms, 3) reference forces there, eV/Å.
        stress: (6,) reference stress there, eV/Å³, Voigt.
    """

    def __init__(self, potential: Potential, atoms: Atoms, forces: np.ndarray, stress: np.ndarray):
        self.potential = potential
        self.cutoff = potential.cutoff
        self.species = potential.species
        batch = CrystalBatch.from_atoms([atoms])
        mean = potential.energy_forces_stress(batch).mean()
        self.origin = batch
        self.extra_force = torch.as_tensor(np.array(forces)) - mean.forces[0].double()
        self.extra_stress = full_from_voigt(torch.as_tensor(np.array(stress))) - mean.stress[0, 0].double()

    def energy_forces_stress(self, batch: CrystalBatch, edges: Edges | None = None) -> Prediction:
        """One structure with the labelled one's atoms in the same order."""
        mean = self.potential.energy_forces_stress(batch, edges).mean()
        # Forces are constant in the frame of the strained cell; the work they do is linear in the displacement.
        deformation = torch.linalg.solve(self.origin.cells[0], batch.cells[0])
        moved = batch.positions @ torch.linalg.inv(deformation) - self.origin.positions
        strain = 0.5 * (deformation + deformation.T) - torch.eye(3, dtype=torch.float64)
        work = -(self.extra_force * moved).sum() + self.origin.volumes[0] * (self.extra_stress * strain).sum()
        return Prediction(
            mean.energy + work,
            mean.forces.double() + self.extra_force,
            mean.stress.double() + self.extra_stress,
        )


class ReferencePotential:
    """The reference behind the potential's contract, every call through the ledger.

    Raises:
        ReferenceFailed: from `energy_forces_stress`, with the engine's words.
        BudgetExhausted: no calls left.
    """

    cutoff = 1.0

    def __init__(self, dispatcher: Dispatcher, purpose: str, round: int):
        self.dispatcher = dispatcher
        self.purpose = purpose
        self.round = round
        self.species = tuple(range(1, 119))

    def energy_forces_stress(self, batch: CrystalBatch, edges: Edges | None = None) -> Prediction:
        """Labels of all structures of the batch."""
        answers = self.dispatcher.label_many(batch.to_atoms(), self.purpose, self.round)
        labels = []
        for answer in answers:
            if isinstance(answer, ReferenceFailed):
                raise answer
            labels.append(answer)
        return Prediction(
            torch.tensor([[label.energy for label in labels]], dtype=torch.float64),
            torch.as_tensor(np.concatenate([label.forces for label in labels])).unsqueeze(0),
            full_from_voigt(torch.as_tensor(np.stack([label.stress for label in labels]))).unsqueeze(0),
        )

