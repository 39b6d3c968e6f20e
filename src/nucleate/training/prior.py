"""Labels minus the predictions of a prior or of another potential, which are the target of a correction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.strain import voigt_from_full
from nucleate.errors import BadInput
from nucleate.persist.files import append_line, read_lines
from nucleate.potentials.base import Potential
from nucleate.potentials.prior import PriorPotential, prior_digest
from nucleate.pretrained import same_model
from nucleate.progress import Progress, Step, silent
from nucleate.training.labelled import LabelledStructure

BATCH = 32
"""Number of structures evaluated at a time."""


class PriorAnswers:
    """Evaluates a prior and caches its predictions.

    Args:
        prior: the prior.
        path: file of the cached predictions; None keeps them only in memory.
    """

    def __init__(self, prior: PriorPotential, path: Path | None = None):
        self.prior, self.path = prior, path
        kept = [] if path is None else read_lines(path)
        self._identity = f"{prior.name} {prior_digest(prior.name)}".strip()
        self._known = {line["structure"]: line for line in kept if line["prior"] == self._identity}

    def taken_off(self, data: Sequence[LabelledStructure], progress: Progress = silent, leave_out: bool = False) -> list[LabelledStructure]:
        """Return the data with the prior's energies, forces and stresses subtracted from the labels.

        Args:
            data: labelled structures.
            progress: called with a `Step` after each structure.
            leave_out: whether structures that the prior cannot evaluate are left out, rather than an error raised.

        Raises:
            BadInput: a structure was labelled by the prior itself, or the prior cannot evaluate it; the message names the row.
        """
        own = next((item for item in data if same_model(str(item.info.get("reference", "")), self.prior.name)), None)
        if own is not None:
            raise BadInput(f"{own.where}: the structure was labelled by the prior '{self.prior.name}' itself; choose another prior")
        left = []
        for k, item in enumerate(data):
            answer = self._answer(item)
            if not np.isfinite(answer["energy"]):
                if leave_out:
                    continue
                raise BadInput(f"{item.where}: the prior '{self.prior.name}' cannot evaluate the structure; remove the row")
            left.append(_minus(item, answer["energy"], np.array(answer["forces"]), np.array(answer["stress"])))
            progress(Step(f"evaluating {self.prior.name}", k + 1, len(data)))
        return left

    def _answer(self, item: LabelledStructure) -> dict:
        """Return the cached prediction for a structure, evaluating the prior if needed."""
        atoms = item.atoms
        arrays = (atoms.numbers, atoms.positions, atoms.cell.array)
        key = hashlib.sha256(b"".join(np.ascontiguousarray(array, dtype="<f8").tobytes() for array in arrays)).hexdigest()[:24]
        if key not in self._known:
            prediction = self.prior.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
            line = {
                "structure": key, "prior": self._identity, "energy": float(prediction.energy[0, 0]),
                "forces": prediction.forces[0].tolist(), "stress": voigt_from_full(prediction.stress[0])[0].tolist(),
            }  # fmt: skip
            if self.path is not None:
                append_line(self.path, line)
            self._known[key] = line
        return self._known[key]


def minus_potential(data: Sequence[LabelledStructure], potential: Potential) -> list[LabelledStructure]:
    """Return the data with the mean energies, forces and stresses of a potential subtracted from the labels."""
    left = []
    for first in range(0, len(data), BATCH):
        part = data[first : first + BATCH]
        batch = CrystalBatch.from_atoms([item.atoms for item in part])
        mean = potential.energy_forces_stress(batch).mean()
        forces = np.split(mean.forces[0].double().numpy(), np.cumsum(batch.counts.numpy())[:-1])
        stress = voigt_from_full(mean.stress[0].double()).numpy()
        left += [_minus(item, float(mean.energy[0, k]), forces[k], stress[k]) for k, item in enumerate(part)]
    return left


def _minus(item: LabelledStructure, energy: float, forces: np.ndarray, stress: np.ndarray) -> LabelledStructure:
    """Return a structure with an energy, forces and a stress subtracted from its labels."""
    return replace(
        item,
        before=item.labels,
        energy=item.energy - energy,
        forces=None if item.forces is None else item.forces - forces,
        stress=None if item.stress is None else item.stress - stress,
    )
