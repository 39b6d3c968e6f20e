"""A committee trained further on labels near the minima of polymorphs, so that its harmonic response is that of the reference.

The labels of a search are spread over the whole energy surface, and few are near a minimum. Here the training of the search goes on with
labels of structures near each minimum and with its own, which have lower weights in the loss. The weight of the stress is higher than in a
search, because the response of the stress to a strain is small compared with the stresses of a search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.csp.labels_from import labels_known, refuse_other_settings
from nucleate.csp.learner import training_data
from nucleate.errors import BadInput, NucleateError
from nucleate.persist.files import write_whole
from nucleate.polymorphs.stability.inputs import Inputs
from nucleate.polymorphs.stability.near_minimum import structures_near, training_matrix
from nucleate.polymorphs.stability.prepared import Prepared, Unusable, prepare
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.supercells import primitive_cell
from nucleate.polymorphs.stability.surface import CommitteeForces, ReferenceForces
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.prior import PriorPotential
from nucleate.potentials.registry import Learned
from nucleate.potentials.soap_krr import SoapKrr
from nucleate.progress import Event, Note, Progress, Stage, Step, in_phase, silent
from nucleate.reference.base import Label, Reference
from nucleate.training.closed_form import solve
from nucleate.training.data import from_labels
from nucleate.training.gauss_newton import fit_closely
from nucleate.training.labelled import LabelledStructure
from nucleate.training.prior import PriorAnswers, minus_potential
from nucleate.training.settings import FitSettings, TrainingSettings

PURPOSE = "training near the minima"
MODEL = "model.safetensors"
"""Name of the model file in the folder of the check."""
RECORD = "training.json"
"""Name of the file that states from which data the model files were trained."""
NEAR_SHARE = 0.99
"""Share of the labels near the minima in the sum of all weights."""
STEPS = 20
"""Number of Gauss-Newton steps of a training."""
STRESS_WEIGHT = 20.0
"""Weight of the squared error of stress times volume per atom; in a search it is 0.5 by default."""
UNLIKE = 0.5
"""Difference of the energies of model and reference in eV/atom from which the model was trained on another reference."""


@dataclass(frozen=True)
class Refined:
    """A committee after the training.

    Attributes:
        surface: the committee.
        ends: the polymorphs at the minima of the committee, or why there is none.
        labels: number of labels near the minima.
    """

    surface: CommitteeForces
    ends: list[Prepared | Unusable]
    labels: int


def refuse_training(inputs: Inputs, model: Path, reference: Reference) -> None:
    """Raise `BadInput` unless the labels of a reference can be added to those of a run.

    Args:
        inputs: structures of the check.
        model: model file of the committee.
        reference: reference of the new labels.
    """
    run = inputs.run
    if run is None:
        return
    try:
        refuse_other_settings(inputs.path, run.reference, run.reference_settings or reference.settings(), reference)
    except BadInput as error:
        raise BadInput(f"--train adds labels to those of the search: {error}") from None
    if load_potential(model)[0].species != run.settings.species:
        raise BadInput(f"--train: {model} and the search in {inputs.path} have other elements; leave --model out")


def cells_to_label(atoms: Atoms, settings: CheckSettings) -> list[int]:
    """Return the number of atoms of each label of one structure, for the estimate of the cost."""
    cell = primitive_cell(atoms)
    structures, _ = structures_near(cell, training_matrix(cell, settings), settings.train, 1)
    return [len(each) for each in structures]


class Refinement:
    """Training of a committee on labels near the minima of polymorphs.

    Args:
        inputs: structures of the check.
        model: model file of the committee.
        settings: settings of the check.
        exact: the reference.
        folder: output folder of the check.
        progress: called with a `Stage`, a `Step` or a `Note`.

    Raises:
        BadInput: labels that the search was given cannot be read any more.
    """

    def __init__(self, inputs: Inputs, model: Path, settings: CheckSettings, exact: ReferenceForces, folder: Path, progress: Progress):
        self.inputs, self.model, self.settings = inputs, model, settings
        self.exact, self.folder, self.progress = exact, folder, progress
        self.near: list[LabelledStructure] = []
        self.known: list[LabelledStructure] = []
        self.training, self.seed = TrainingSettings(), 0
        if (run := inputs.run) is not None:
            given = labels_known(run.settings, exact.dispatcher.reference, progress)[0].labels if run.settings.teacher.labels_from else []
            self.known = training_data(run.crystals, given)
            self.training, self.seed = run.settings.training, run.settings.seed

    def run(self, ends: list[Prepared | Unusable]) -> Refined:
        """Label structures near the minima and train, twice: the last third of the labels are near the minima of the first training.

        Args:
            ends: the polymorphs at the minima of the committee that is trained.

        Raises:
            NucleateError: all calculations failed.
            BadInput: the model was trained on another reference.
        """
        later = self.settings.train // 3
        surface, ends = self._turn(ends, self.settings.train - later, 1)
        if later and any(isinstance(end, Prepared) for end in ends):
            surface, ends = self._turn(ends, later, 2)
        return Refined(surface, ends, len(self.near))

    def _turn(self, ends: list[Prepared | Unusable], count: int, turn: int) -> tuple[CommitteeForces, list[Prepared | Unusable]]:
        """Add `count` labels for each polymorph, train, and relax all structures again."""
        self.progress(Stage("labels near the minima on the reference"))
        structures: list[Atoms] = []
        like: list[Atoms] = []
        for each in (end for end in ends if isinstance(end, Prepared)):
            own, cells = structures_near(each.atoms, training_matrix(each.atoms, self.settings), count, turn)
            structures += own
            like += cells
        done = 0

        def counted(event: Event, /) -> None:
            nonlocal done
            done += 1
            self.progress(Step(PURPOSE, done, len(structures)))

        answers = self.exact.dispatcher.label_many(structures, PURPOSE, turn, counted, like=like)
        pairs = [(atoms, answer) for atoms, answer in zip(structures, answers, strict=True) if isinstance(answer, Label)]
        failures = [answer for answer in answers if not isinstance(answer, Label)]
        if not pairs:
            raise NucleateError(f"no label for the training: {failures[0]}")
        if failures:
            self.progress(Note(f"{len(failures)} of {len(structures)} calculations failed and are left out of the training: {failures[0]}"))
        self.near += from_labels([atoms for atoms, _ in pairs], [label for _, label in pairs])
        if turn == 1 and self.inputs.run is None:
            self._refuse_unlike()
        self.progress(Stage("training the committee near the minima"))
        target = self._trained(turn)
        surface = CommitteeForces(load_potential(target)[0], str(self.folder / MODEL))
        self.progress(Stage("relaxing on the trained committee"))
        return surface, prepare(self.inputs.subjects, surface, self.settings, self.inputs.pressure, self.progress)

    def _refuse_unlike(self) -> None:
        """Raise `BadInput` if the energies of the model are those of another reference."""
        found = CommitteeForces(load_potential(self.model)[0], "").evaluate([item.atoms for item in self.near], PURPOSE)
        counts = np.array([len(item.atoms) for item in self.near])
        energies = np.array([item.energy for item in self.near])
        difference = float(np.abs((found.energy.mean(axis=0) - energies) / counts).min())
        if difference > UNLIKE:
            raise BadInput(
                f"{self.model}: its energies are {difference:.1f} eV/atom from those of {self.exact.name}; name the reference on which the "
                "model was trained"
            )

    def _trained(self, turn: int) -> Path:
        """Return the file of the model that is trained on all labels so far, from an earlier check if the data are the same."""
        settings = self.training.of_round(self.seed, warm=True).model_copy(update={"stress_weight": STRESS_WEIGHT})
        start = self.model if turn == 1 else self.folder / _file(1)
        digest = _digest(start, self.known, self.near, settings)
        target, record = self.folder / _file(turn), self.folder / RECORD
        stated = _record(record)
        if stated.get(target.name) != digest or not target.is_file():
            write_whole(record, json.dumps({**stated, target.name: ""}))
            train(start, self.known, self.near, settings, target, self.progress)
            write_whole(record, json.dumps({**stated, target.name: digest}))
        write_whole(self.folder / MODEL, target.read_bytes())
        return target


def train(
    model: Path,
    known: Sequence[LabelledStructure],
    near: Sequence[LabelledStructure],
    settings: FitSettings,
    target: Path,
    progress: Progress = silent,
) -> None:
    """Train the potential of a model file further, and write it to another one.

    Fixed parts, which are a prior, the committee of another method and the force field of molecules, are kept.

    Args:
        model: model file.
        known: labels of the search; may be empty.
        near: labels near the minima.
        settings: settings of the training.
        target: file of the trained potential.
        progress: called with a `Step` after each structure of each step.
    """
    potential, factor = load_potential(model)
    learned: Learned = potential.learned
    base = potential.base if isinstance(potential, CorrectedPotential) else None
    molecules = potential.molecules if isinstance(potential, CorrectedPotential) else None
    prior = PriorAnswers(base) if isinstance(base, PriorPotential) else None

    def corrections(data: Sequence[LabelledStructure]) -> list[LabelledStructure]:
        data = list(data)
        if molecules is not None:
            data = minus_potential(data, molecules)
        if prior is not None:
            return prior.taken_off(data, progress, leave_out=True)
        return data if base is None else minus_potential(data, base)

    others = corrections(known)
    weight = max(1.0, NEAR_SHARE / (1 - NEAR_SHARE) * len(others) / len(near))
    close = [replace(item, weight=weight) for item in corrections(near)]
    if isinstance(learned, SoapKrr):
        learned = solve(learned.species, learned.settings, [*close, *others], settings)
    else:
        fit_closely(learned, close, others, settings, STEPS, in_phase("training", progress))
    own = None if isinstance(base, PriorPotential) else base
    save_committee(target, learned, factor, base.name if isinstance(base, PriorPotential) else None, own, molecules)


def _file(turn: int) -> str:
    return f"model_{turn}.safetensors"


def _record(path: Path) -> dict[str, str]:
    """Return the entries of the record; a missing or damaged one has none."""
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stated if isinstance(stated, dict) else {}


def _digest(model: Path, known: Sequence[LabelledStructure], near: Sequence[LabelledStructure], settings: FitSettings) -> str:
    """Return a hash of everything that a training depends on."""
    digest = hashlib.sha256(model.read_bytes())
    digest.update(f"{settings.model_dump_json()} {NEAR_SHARE} {STEPS} {len(near)}".encode())
    for item in [*near, *known]:
        parts = (item.atoms.numbers, item.atoms.positions, item.atoms.cell.array, item.energy, item.forces, item.stress)
        for part in parts:
            digest.update(b"-" if part is None else np.ascontiguousarray(part, dtype="<f8").tobytes())
    return digest.hexdigest()
