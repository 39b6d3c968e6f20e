"""Sum of a fixed potential and a learned correction.

    E = E_base + E_correction

The base is a pretrained potential, or a committee that was trained on other labels. Its weights are not changed; the correction is trained
on the differences between the labels and the base in energies, forces and stresses.
"""

from __future__ import annotations

from typing import Any

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.potentials.base import Prediction
from nucleate.potentials.prior import PriorPotential
from nucleate.potentials.registry import Learned


class CorrectedPotential:
    """Sum of a fixed potential and a learned correction.

    Args:
        base: a pretrained potential, or a trained committee. A committee with as many members as the correction adds its spread to that of
            the correction, member by member; of any other only the mean enters.
        correction: a trained model, whose committee axis is that of the sum.
    """

    def __init__(self, base: PriorPotential | Learned, correction: Learned):
        self.base = base
        self.correction = correction
        self.cutoff = max(base.cutoff, correction.cutoff)
        self.species = correction.species

    @property
    def learned(self) -> Learned:
        """The correction."""
        return self.correction

    @property
    def prior_name(self) -> str | None:
        """Name of the pretrained potential; None if the base is a committee."""
        return self.base.name if isinstance(self.base, PriorPotential) else None

    def layout(self, batch: CrystalBatch, edges: Edges) -> Any:
        """Return the tables of base and correction; see `Potential`."""
        return self.base.layout(batch, edges), self.correction.layout(batch, edges)

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: Any = None, mean_forces: bool = False
    ) -> Prediction:
        """Return the sum of base and correction; see `Potential`."""
        mine, other = (None, None) if layout is None else layout
        learned = self.correction.energy_forces_stress(batch, edges, other, mean_forces)
        base = self.base.energy_forces_stress(batch, edges, mine, mean_forces)
        energy = base.energy if base.members == learned.members else base.energy.mean(0, True)
        forces, stress = base.forces, base.stress
        if len(forces) != len(learned.forces):
            forces, stress = forces.mean(0, True), stress.mean(0, True)
        return Prediction(learned.energy + energy, learned.forces + forces, learned.stress + stress, learned.deviation)
