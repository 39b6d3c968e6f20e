"""Labels minus the prior's predictions, the target of a correction."""

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
from nucleate.potentials.prior import PriorPotential, prior_digest
from nucleate.progress import Progress, Step, silent
from nucleate.training.labelled import LabelledStructure


class PriorAnswers:
    """Evaluates a prior and caches its answers on disk.

    Args:
        prior: what to ask.
        path: file of the answers; None keeps them in memory alone.
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
            progress: Called with a `Step` after each structure.
            leave_out: leave out what the prior has no answer for, in place of raising.

        Raises:
            BadInput: the labels are the prior's own, or it has no answer; names the row.
        """
        own = next((item for item in data if item.info.get("reference") == self.prior.name), None)
        if own is not None:
            raise BadInput(f"{own.where}: was labelled by {self.prior.name} itself, which cannot be corrected by its own labels")
        left = []
        for k, item in enumerate(data):
            said = self._answer(item)
            if not np.isfinite(said["energy"]):
                if leave_out:
                    continue
                raise BadInput(f"{item.where}: {self.prior.name} cannot evaluate it; remove the row")
            left.append(
                replace(
                    item,
                    before=item,
                    energy=item.energy - said["energy"],
                    forces=None if item.forces is None else item.forces - np.array(said["forces"]),
                    stress=None if item.stress is None else item.stress - np.array(said["stress"]),
                )
            )
            progress(Step(f"evaluating {self.prior.name}", k + 1, len(data)))
        return left

    def _answer(self, item: LabelledStructure) -> dict:
        atoms = item.atoms
        arrays = (atoms.numbers, atoms.positions, atoms.cell.array)
        key = hashlib.sha256(b"".join(np.ascontiguousarray(array, dtype="<f8").tobytes() for array in arrays)).hexdigest()[:24]
        if key not in self._known:
            said = self.prior.energy_forces_stress(CrystalBatch.from_atoms([atoms]))
            line = {
                "structure": key, "prior": self._identity, "energy": float(said.energy[0, 0]), "forces": said.forces[0].tolist(),
                "stress": voigt_from_full(said.stress[0])[0].tolist(),
            }  # fmt: skip
            if self.path is not None:
                append_line(self.path, line)
            self._known[key] = line
        return self._known[key]
