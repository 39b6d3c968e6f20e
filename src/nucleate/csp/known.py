"""What is known before the first reference call: a surface to correct, labels, and structures worth a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.records import Carried
from nucleate.potentials.base import Potential
from nucleate.potentials.registry import Learned
from nucleate.reference.base import Label
from nucleate.training.data import from_labels
from nucleate.training.labelled import LabelledStructure
from nucleate.training.prior import minus_potential


@dataclass(frozen=True)
class Known:
    """What is known before the first reference call.

    Attributes:
        base: committee that was trained on another method, which the learned potential corrects; None: there is none.
        labels: labels of the reference from other calculations with the same settings.
        minima: structures of the search cell to be labelled first, the most promising first.
        own_minima: number of the first of these that are minima of the reference itself.
        pool: relaxed candidates, added to the first pool.
        smaller: minima of smaller cells of the compound, of which supercells are made, the lowest first.
        source: name of the method of the base, for messages.
    """

    base: Learned | None = None
    labels: list[LabelledStructure] = field(default_factory=list)
    minima: list[Atoms] = field(default_factory=list)
    own_minima: int = 0
    pool: list[Carried] = field(default_factory=list)
    smaller: list[Atoms] = field(default_factory=list)
    source: str = ""


@dataclass(frozen=True)
class Deviation:
    """Deviation of a potential from labels: medians over the structures, so that one structure outside its range does not decide.

    Attributes:
        labels: number of labels.
        energy: error of the energy after a constant shift per atom, eV/atom.
        force: root mean square error of the force components, eV/Å.
        stress: root mean square error of the stress components times the volume per atom, eV.
        shift: reference minus potential, eV/atom.
    """

    labels: int
    energy: float
    force: float
    stress: float
    shift: float

    @property
    def loss(self) -> float:
        """The three errors as in the loss of the training: 20 energy^2 + force^2 + 0.5 stress^2."""
        return 20 * self.energy**2 + self.force**2 + 0.5 * self.stress**2


def deviation(potential: Potential, structures: Sequence[Atoms], labels: Sequence[Label]) -> Deviation:
    """Return the deviation of the mean of a committee from labels.

    Args:
        potential: the potential.
        structures: labelled structures, at least one.
        labels: their labels.
    """
    left = minus_potential(from_labels(structures, labels), potential)
    energy = np.array([item.energy / len(item.atoms) for item in left])
    shift = float(np.median(energy))
    force = [float(np.sqrt(np.mean(item.forces**2))) for item in left if item.forces is not None]
    volume = CrystalBatch.from_atoms(list(structures)).volumes.numpy() / np.array([len(atoms) for atoms in structures])
    stress = [float(np.sqrt(np.mean(item.stress**2)) * v) for item, v in zip(left, volume, strict=True) if item.stress is not None]
    return Deviation(len(left), float(np.median(np.abs(energy - shift))), float(np.median(force)), float(np.median(stress)), shift)


def covers(labels: Sequence[LabelledStructure], species: Sequence[int]) -> bool:
    """Return whether the labelled structures contain all elements."""
    return set(species) <= {int(z) for item in labels for z in item.atoms.numbers}
