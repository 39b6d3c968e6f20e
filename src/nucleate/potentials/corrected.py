"""Sum of fixed potentials and a learned correction.

    E = E_base + E_molecules + E_correction

The base is a pretrained potential, or a committee that was trained on other labels; E_molecules is the force field of isolated molecules.
Their weights are not changed; the correction is trained on the differences between the labels and the fixed potentials in energies, forces
and stresses.
"""

from __future__ import annotations

from typing import Any

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.potentials.base import Prediction
from nucleate.potentials.bonded import BondedPotential
from nucleate.potentials.prior import PriorPotential
from nucleate.potentials.registry import Learned


class CorrectedPotential:
    """Sum of fixed potentials and a learned correction.

    Args:
        base: a pretrained potential, or a trained committee; None: there is none. A committee with as many members as the correction adds
            its spread to that of the correction, member by member; of any other only the mean enters.
        correction: a trained model, whose committee axis is that of the sum.
        molecules: force field of the molecules; None: there is none.
    """

    def __init__(self, base: PriorPotential | Learned | None, correction: Learned, molecules: BondedPotential | None = None):
        self.base = base
        self.correction = correction
        self.molecules = molecules
        self.fixed = [part for part in (base, molecules) if part is not None]
        self.cutoff = max(part.cutoff for part in (*self.fixed, correction))
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
        """Return the tables of all parts; see `Potential`."""
        return [part.layout(batch, edges) for part in (*self.fixed, self.correction)]

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: Any = None, mean_forces: bool = False
    ) -> Prediction:
        """Return the sum of all parts; see `Potential`."""
        *others, mine = [None] * (len(self.fixed) + 1) if layout is None else layout
        total = self.correction.energy_forces_stress(batch, edges, mine, mean_forces)
        for part, tables in zip(self.fixed, others, strict=True):
            fixed = part.energy_forces_stress(batch, edges, tables, mean_forces)
            energy = fixed.energy if fixed.members == total.members else fixed.energy.mean(0, True)
            forces, stress = fixed.forces, fixed.stress
            if len(forces) != len(total.forces):
                forces, stress = forces.mean(0, True), stress.mean(0, True)
            total = Prediction(total.energy + energy, total.forces + forces, total.stress + stress, total.deviation)
        return total
