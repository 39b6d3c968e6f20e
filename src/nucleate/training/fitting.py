"""Optimisation of a model: minibatches, stages, optimiser and moving average of the weights.

Minibatches follow from seed and step alone: from the same state, the same steps lead to the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.errors import BadInput
from nucleate.potentials.base import Potential
from nucleate.potentials.registry import Trainable
from nucleate.progress import Progress, Step, silent
from nucleate.training.baseline import fit_baseline
from nucleate.training.batches import LabelledSet, Minibatch
from nucleate.training.data import heights
from nucleate.training.descent import Adam, AdamW, check_loss, cosine_decay
from nucleate.training.labelled import LabelledStructure
from nucleate.training.loss import Errors, ErrorSum, loss, squares
from nucleate.training.parts import Part, find_parts, slice_of
from nucleate.training.settings import FitSettings, Stage

EVALUATION_BATCH = 32


@dataclass(frozen=True)
class Taken:
    """Result of an optimiser step.

    Attributes:
        loss: Mean loss of the members before the step.
        rate: Learning rate.
        structures: Number of structures in the minibatch.
    """

    loss: float
    rate: float
    structures: int


class Fitting:
    """Training of a model, step by step.

    Args:
        model: Model, which is changed in place.
        labelled: Training data.
        settings: Training settings.

    Attributes:
        average: Moving average of each parameter, which becomes the parameter at the end.
        step: Number of steps taken.
        frozen: Layers and species whose parameters are fixed.
        steered: Learning rate set by a command, and the step at which it was set.
    """

    def __init__(self, model: Trainable, labelled: LabelledSet, settings: FitSettings):
        self.model, self.labelled, self.settings = model, labelled, settings
        self.parameters = dict(model.named_parameters())
        self.optimiser = self._make_optimiser()
        self.average = [parameter.detach().clone() for parameter in self.parameters.values()]
        self.step = 0
        self.frozen = [what for what in settings.freeze if find_parts(model, what)]
        for stage in settings.all_stages:
            for what in stage.train:
                find_parts(model, what)
        self.steered: tuple[float, int] | None = None

    def advance(self) -> Taken:
        """Take one step; raise `NucleateError` if the loss is not finite."""
        stage, _ = self.stage()
        rate = self.rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        still = self._still(stage)
        kept = [(self.parameters[name], index, slice_of(self.parameters[name], index).detach().clone()) for name, index in still]
        whole = {name for name, index in still if index is None}
        data = self.labelled.take(self.chosen(self.step))

        def closure() -> float:
            self.optimiser.zero_grad(set_to_none=True)
            errors = squares(self.model.energy_forces_stress(data.batch, data.edges, create_graph=True), data)
            total = loss(errors, data.weight, self.settings)
            total.backward()
            for name in whole:
                self.parameters[name].grad = None
            moving = [p for p in self.parameters.values() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(moving, self.settings.clip * math.sqrt(self.model.members))
            return float(total.detach()) / self.model.members

        value = closure() if not isinstance(self.optimiser, torch.optim.LBFGS) else None
        if value is None:
            value = float(self.optimiser.step(closure))
        else:
            self.optimiser.step()
        check_loss(value, self.step + 1)
        with torch.no_grad():
            for parameter, index, before in kept:
                slice_of(parameter, index).copy_(before)
            # In the first steps the average follows the parameters closely, so that the random initial values lose their weight.
            decay = min(self.settings.ema, (self.step + 1) / (self.step + 10)) if self.settings.ema else 0.0
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters.values()], 1 - decay)
        self.step += 1
        return Taken(value, rate, len(data.batch))

    def chosen(self, step: int) -> Sequence[int]:
        """Return the indices of the minibatch of a step, which depend on seed and step only."""
        n = len(self.labelled)
        if self.settings.optimiser == "lbfgs":
            return range(n)
        parts = max(1, round(n / self.settings.batch))
        epoch, place = divmod(step, parts)
        order = np.random.default_rng([self.settings.seed, 9, epoch]).permutation(n)
        return np.array_split(order, parts)[place].tolist()

    def stage(self, step: int | None = None) -> tuple[Stage, tuple[int, int]]:
        """Return the stage of a step, the number of the stage, and the number of the step within it."""
        left = self.step if step is None else step
        stages = self.settings.all_stages
        for number, stage in enumerate(stages):
            if left < stage.steps:
                return stage, (number, left)
            left -= stage.steps
        return stages[-1], (len(stages) - 1, stages[-1].steps)

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        if self.steered is not None:
            value, since = self.steered
            return value * self._factor(self.step) / self._factor(since)
        stage, _ = self.stage()
        return (stage.learning_rate or self.settings.learning_rate) * self._factor(self.step)

    def _factor(self, step: int) -> float:
        stage, (_, within) = self.stage(step)
        s, done = self.settings, within / stage.steps
        if s.schedule == "cosine":
            factor = cosine_decay(done, s.final_rate)
        else:
            factor = s.final_rate**done if s.schedule == "exponential" else 1.0
        return factor * min(1.0, (within + 1) / (s.warmup + 1))

    def _still(self, stage: Stage) -> list[Part]:
        """Return the parameters that are fixed in a stage."""
        still = [part for what in self.frozen for part in find_parts(self.model, what)]
        if stage.train:
            moving = {part for what in stage.train for part in find_parts(self.model, what)}
            places = (None, *range(len(self.model.species)))
            still += [(name, None) for name in self.parameters if all((name, index) not in moving for index in places)]
        return still

    def _make_optimiser(self) -> torch.optim.Optimizer:
        s, parameters = self.settings, [p for p in self.parameters.values() if p.requires_grad]
        if s.optimiser == "lbfgs":
            return torch.optim.LBFGS(parameters, lr=s.learning_rate, max_iter=1, history_size=20)
        if s.optimiser == "adam":
            return Adam(parameters, lr=s.learning_rate)
        return AdamW(parameters, lr=s.learning_rate, weight_decay=s.weight_decay)

    def gradient(self, chosen: Sequence[int]) -> list[Tensor]:
        """Return the gradient of the loss of these structures with respect to each parameter."""
        data = self.labelled.take(chosen)
        parameters = [p for p in self.parameters.values() if p.requires_grad]
        errors = squares(self.model.energy_forces_stress(data.batch, data.edges, create_graph=True), data)
        gradients = torch.autograd.grad(loss(errors, data.weight, self.settings), parameters, allow_unused=True)
        return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context manager within which the model has the averaged weights."""
        current = [p.detach().clone() for p in self.parameters.values()]
        self._set(self.average)
        yield
        self._set(current)

    def keep_average(self) -> None:
        """Set the model's weights to their moving average."""
        self._set(self.average)
        for parameter in self.parameters.values():
            parameter.grad = None

    def _set(self, values: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters.values(), values, strict=True):
                parameter.copy_(value)

    def reset(self, what: str, fresh: Trainable) -> None:
        """Reset a part to the weights of another model and clear its optimiser state."""
        new = dict(fresh.named_parameters())
        with torch.no_grad():
            for name, index in find_parts(self.model, what):
                slice_of(self.parameters[name], index).copy_(slice_of(new[name], index))
                slice_of(self.average[list(self.parameters).index(name)], index).copy_(slice_of(new[name], index))
                self.optimiser.state.pop(self.parameters[name], None)

    def copy(self, target: str, source: str) -> None:
        """Copy the weights of one species to another; raises `BadInput` if species share their weights."""
        self.model.copy_species(target, source)
        with torch.no_grad():
            for kept, (name, parameter) in zip(self.average, self.parameters.items(), strict=True):
                if target in name.split("."):
                    kept.copy_(parameter)


def structure_weights(data: Sequence[LabelledStructure], members: int, settings: FitSettings) -> Tensor:
    """Return weights (members, structures): those of the structures, smaller for large forces and energies, and random with `bootstrap`."""
    weights = np.tile([item.weight for item in data], (members, 1))
    if settings.soften_force:
        given = [item.labels.forces for item in data]
        force = np.array([0.0 if forces is None else np.sqrt(np.mean(forces**2)) for forces in given])
        weights *= 1 / (1 + (force / settings.soften_force) ** 2)
    if settings.soften_energy:
        # A quantile instead of the minimum, so that one wrong label does not reduce the weights of all others.
        above = np.maximum(heights(data, 0.05), 0)
        weights *= 1 / (1 + (above / settings.soften_energy) ** 2)
    if settings.bootstrap and members > 1:
        # Bayesian bootstrap (Rubin, Ann. Statist. 9, 130 (1981), doi 10.1214/aos/1176345338), drawn label by label, so that
        # the weights of a label do not change when labels are added.
        draws = [np.random.default_rng([settings.seed, k, 77]).exponential(size=members) for k in range(len(data))]
        weights *= np.clip(np.stack(draws, axis=1), 0.1, 3.0)
    return torch.as_tensor(weights / weights.mean())


def fit_model(
    model: Trainable,
    data: Sequence[LabelledStructure],
    settings: FitSettings,
    warm: bool = False,
    progress: Progress = silent,
) -> Errors:
    """Train a model in place without a folder, as in each round of a search.

    Args:
        model: Model of a family that is trained in steps.
        data: Labelled structures, all of which are training data.
        settings: Training settings.
        warm: Whether to continue with the weights, shifts and scales of the model.
        progress: Called with a `Step` after each optimiser step.

    Returns:
        Errors of the committee's mean on the data.

    Raises:
        BadInput: There are no labelled structures.
    """
    if not data:
        raise BadInput("no labelled structures to train on")
    labelled = LabelledSet(data, model.cutoff, structure_weights(data, model.members, settings), model.energy_scale.device)
    if not warm:
        fit_baseline(model, labelled, settings.seed)
    fitting = Fitting(model, labelled, settings)
    while fitting.step < settings.total:
        fitting.advance()
        progress(Step("training", fitting.step, settings.total))
    fitting.keep_average()
    return errors_on(model, labelled, range(len(labelled)))


def errors_on(model: Potential, labelled: LabelledSet, chosen: Sequence[int]) -> Errors:
    """Compute the errors of the committee's mean on structures."""
    total = ErrorSum()
    for part in evaluation_parts(labelled, chosen):
        total.add(model.energy_forces_stress(part.batch, part.edges), part)
    return total.errors()


def evaluation_parts(labelled: LabelledSet, chosen: Sequence[int]) -> Iterator[Minibatch]:
    """Yield minibatches of these structures, in order."""
    for first in range(0, len(chosen), EVALUATION_BATCH):
        yield labelled.take(list(chosen[first : first + EVALUATION_BATCH]))
