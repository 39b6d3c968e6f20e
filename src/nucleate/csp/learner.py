"""The learned potential of a search: a committee of any family, alone or as a correction of a prior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from nucleate.csp.model_settings import SearchModelSettings, refuse_own_prior
from nucleate.potentials.bonded import BondedPotential
from nucleate.potentials.corrected import CorrectedPotential
from nucleate.potentials.files import load_potential, save_committee
from nucleate.potentials.prior import PriorPotential
from nucleate.potentials.registry import CLASSES, Learned, Trainable, make_model
from nucleate.potentials.settings import SoapKrrSettings
from nucleate.pretrained import check_elements
from nucleate.progress import Progress, silent
from nucleate.reference.base import Reference
from nucleate.reference.ledger import LedgerRow
from nucleate.training.batches import LabelledSet
from nucleate.training.closed_form import solve
from nucleate.training.data import from_labels
from nucleate.training.fitting import errors_on, fit_model
from nucleate.training.labelled import LabelledStructure
from nucleate.training.loss import Errors
from nucleate.training.prior import PriorAnswers, minus_potential
from nucleate.training.settings import TrainingSettings

MOST_FORCE = 60.0
"""Largest force in eV/Å of labels in the training data; larger forces belong to strongly compressed cells."""


def training_data(rows: Sequence[LedgerRow], known: Sequence[LabelledStructure]) -> list[LabelledStructure]:
    """Return the training data of a search.

    Args:
        rows: rows of its ledger; those without a label are left out.
        known: labels of other calculations.
    """
    labelled = [(row.atoms, row.label) for row in rows if row.label is not None]
    data = [*known, *from_labels([atoms for atoms, _ in labelled], [label for _, label in labelled])]
    return [item for item in data if item.forces is None or np.abs(item.forces).max() < MOST_FORCE] or data


class Learner:
    """Learned potential of a search, with its training.

    Args:
        species: atomic numbers.
        model: family of the potential, its settings and its prior.
        training: settings of the training.
        seed: random seed of weights, minibatches and bootstrap.
        reference: reference of the labels; it must not be the prior itself.
        answers: file that stores the predictions of the prior; None does not store them.

    Attributes:
        base: committee of another method that the learned potential corrects; None: there is none.
        molecules: force field of the molecules, which the learned potential corrects; None: the search is not one of molecular crystals.
        left_out: number of labels that the last training did not use, because the prior cannot evaluate their structures.

    Raises:
        BadInput: settings contradict each other, or the prior does not support an element.
    """

    def __init__(
        self,
        species: tuple[int, ...],
        model: SearchModelSettings,
        training: TrainingSettings,
        seed: int,
        reference: Reference,
        answers: Path | None = None,
    ):
        self.species, self.settings, self.training, self.seed = species, model, training, seed
        self.options = model.family_options()
        if model.prior is not None:
            refuse_own_prior(model.prior, reference.name)
        self.prior = None if model.prior is None else PriorAnswers(PriorPotential(model.prior), answers)
        self.base: Learned | None = None
        self.molecules: BondedPotential | None = None
        self._learned: Learned | None = None
        self.left_out = 0
        # A model that cannot be built must raise its error here, before reference calls are made.
        if self.prior is not None:
            check_elements(self.prior.prior.name, species, self.prior.prior.species)
        if not CLASSES[model.family].closed_form:
            make_model(model.family, species, self.options, seed, torch.float32)

    @property
    def potential(self) -> Learned | CorrectedPotential:
        """Current potential, including the prior or base."""
        assert self._learned is not None
        base = self.base if self.prior is None else self.prior.prior
        if base is None and self.molecules is None:
            return self._learned
        return CorrectedPotential(base, self._learned, self.molecules)

    @property
    def base_potential(self) -> Learned | CorrectedPotential:
        """Potential of the base, with the force field of the molecules if there is one."""
        assert self.base is not None
        return self.base if self.molecules is None else CorrectedPotential(None, self.base, self.molecules)

    @property
    def trained(self) -> bool:
        """Whether there is a learned potential."""
        return self._learned is not None

    def set_base(self, base: Learned | None) -> None:
        """Replace the committee that the learned potential corrects; the next training starts from random weights."""
        self.base, self._learned = base, None

    def fit(self, labelled: Sequence[LabelledStructure], progress: Progress = silent) -> Errors:
        """Train on all labels, starting from the previous weights if there are any; return the training errors."""
        data = list(labelled)
        if self.molecules is not None:
            data = minus_potential(data, self.molecules)
        if self.prior is not None:
            data = self.prior.taken_off(data, leave_out=True)
        elif self.base is not None:
            data = minus_potential(data, self.base)
        self.left_out = len(labelled) - len(data)
        if CLASSES[self.settings.family].closed_form:
            options = cast(SoapKrrSettings, self.options)
            self._learned = solve(self.species, options, data, self.training.of_round(self.seed, warm=False))
            prepared = LabelledSet(data, self._learned.cutoff, torch.ones(1, len(data)), "cpu")
            return errors_on(self._learned, prepared, range(len(data)))
        warm = self._learned is not None
        if self._learned is None:
            self._learned = make_model(self.settings.family, self.species, self.options, self.seed, torch.float32)
        return fit_model(cast(Trainable, self._learned), data, self.training.of_round(self.seed, warm), warm, progress)

    def save(self, path: Path, sigma_factor: float) -> None:
        """Save the model of a round to a file."""
        assert self._learned is not None
        save_committee(path, self._learned, sigma_factor, self.settings.prior, self.base, self.molecules)

    def load(self, path: Path) -> None:
        """Load the model of a round from a file."""
        potential, _ = load_potential(path)
        base = potential.base if isinstance(potential, CorrectedPotential) else None
        self.base = None if isinstance(base, PriorPotential) else base
        self.molecules = potential.molecules if isinstance(potential, CorrectedPotential) else None
        self._learned = potential.learned
