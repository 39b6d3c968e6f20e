"""Events of a training. Those derived from `LoggedEvent` are also lines of the training folder's events.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nucleate.progress import Event, LoggedEvent, Step


@dataclass(frozen=True)
class OptimiserStep(Step):
    """The optimiser took a step.

    Attributes:
        loss: Loss of the minibatch.
        rate: Learning rate.
    """

    loss: float
    rate: float


@dataclass(frozen=True)
class TrainingStarted(LoggedEvent):
    """A training begins.

    Attributes:
        model: Family of the potential.
        parameters: Number of weights of all members.
        members: Number of committee members.
        species: Chemical symbols.
        training: Number of training structures.
        validation: Number of validation structures.
        split_by: Description of the split.
        notes: Remarks about the data and settings.
    """

    kind: ClassVar[str] = "start"
    model: str
    parameters: int
    members: int
    species: list[str]
    training: int
    validation: int
    split_by: str
    notes: list[str]


@dataclass(frozen=True)
class TrainingResumed(LoggedEvent):
    """A training continues from a checkpoint."""

    kind: ClassVar[str] = "resumed"
    step: int


@dataclass(frozen=True)
class LossRecorded(LoggedEvent):
    """The loss of a minibatch, recorded at regular intervals.

    Attributes:
        step: Number of optimiser steps.
        loss: Loss of the minibatch.
        rate: Learning rate.
        temperature: Learning rate over batch size.
        stage: Number of the stage of the schedule.
    """

    kind: ClassVar[str] = "step"
    step: int
    loss: float
    rate: float
    temperature: float
    stage: int


@dataclass(frozen=True)
class Evaluated(LoggedEvent):
    """The model was evaluated.

    Attributes:
        step: Number of optimiser steps.
        training: Errors on training structures, as in `nucleate.training.loss.Errors`, with `loss` and `informants`; None: no such set.
        validation: The same on validation structures.
        noise: Squared gradient, its covariance over structures and their ratio.
        weights: Histogram of the weights of each layer.
    """

    kind: ClassVar[str] = "evaluation"
    step: int
    training: dict[str, Any] | None
    validation: dict[str, Any] | None
    noise: dict[str, float | None]
    weights: dict[str, Any]


@dataclass(frozen=True)
class Steered(LoggedEvent):
    """A steering command was carried out or refused.

    Attributes:
        step: Number of optimiser steps.
        command: The command.
        refused: Reason of a refusal; None: carried out.
        replayed: Whether the command comes from the replay of another training.
    """

    kind: ClassVar[str] = "steer"
    step: int
    command: dict[str, Any]
    refused: str | None
    replayed: bool


@dataclass(frozen=True)
class TrainingFinished(LoggedEvent):
    """A training ended; `why` is the reason, `cpu_seconds` the time spent in s."""

    kind: ClassVar[str] = "finished"
    step: int
    why: str
    cpu_seconds: float


@dataclass(frozen=True)
class CurvePoint(Event):
    """A training of a learning curve is done; `row` as returned by `nucleate.training.run.learning_curve`."""

    row: dict[str, Any]
