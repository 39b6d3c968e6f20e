"""Validated data for the page of a training, from events.jsonl and parity.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, quoted
from nucleate.persist.checked import checked
from nucleate.training.folder import read_events

LARGEST_PARITY = 100_000_000
"""Largest size of parity.json, in bytes; the trainer writes some thousand pairs."""

# The bounds prevent overflow of the axes; values that are not finite are null.
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Figure = Number | None
Step = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=10_000)]


class _Event(BaseModel):
    """Base class of the events; entries that the page does not show are ignored."""

    model_config = ConfigDict(strict=True)


class _Start(_Event):
    model: Text
    species: list[Text] = Field(max_length=200)
    parameters: Step
    members: Step
    training: Step
    validation: Step
    split_by: Text
    notes: list[Text] = Field(max_length=1000)


class _Step(_Event):
    step: Step
    loss: Figure
    temperature: Figure


class _Errors(_Event):
    loss: Figure
    energy_rmse: Figure
    force_rmse: Figure
    informants: dict[Text, Figure] = Field(max_length=200)


class _Noise(_Event):
    scale: Figure


class _Weights(_Event):
    counts: list[Step] = Field(min_length=1, max_length=10_000)
    low: Number
    high: Number


class _Evaluation(_Event):
    step: Step
    training: _Errors
    validation: _Errors | None = None
    noise: _Noise
    weights: dict[Text, _Weights] = Field(max_length=10_000)


class _Steer(_Event):
    step: Step
    command: dict[Text, Text | float | int] = Field(max_length=20)
    refused: Text | None = None


class _Finished(_Event):
    step: Step
    why: Text


_KINDS: dict[str, type[BaseModel]] = {
    "start": _Start,
    "step": _Step,
    "evaluation": _Evaluation,
    "steer": _Steer,
    "finished": _Finished,
}


class _Pairs(_Event):
    energy: list[tuple[Number, Number]] = Field(default_factory=list)
    force: list[tuple[Number, Number]] = Field(default_factory=list)


class _Parity(_Event):
    training: _Pairs
    validation: _Pairs = Field(default_factory=lambda: _Pairs())


def training_events(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the events of each kind that the page shows.

    Raises:
        BadInput: the folder contains no training, or an event is damaged.
    """
    events: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for event in read_events(folder):
        kind = event.get("event")
        if not isinstance(kind, str) or kind not in events:
            continue
        try:
            checked(_KINDS[kind], event)
        except ValueError as error:
            text = f"a line of the event '{kind}' is damaged ({quoted(str(error), 120)}); delete that line"
            raise BadInput(f"{folder / 'events.jsonl'}: {text}") from error
        # A missing set, or the reason of a refusal, may be null; the page tests whether the key is in the event.
        facts = {name: value for name, value in event.items() if value is not None}
        events[kind].append(facts if kind in ("evaluation", "steer") else event)
    if not events["start"]:
        raise BadInput(f"{folder}: contains no training; start one with: nucleate train DATA --out {folder}")
    return events


def parity_pairs(path: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Return pairs (reference, model) of `energy` and `force` for the sets `training` and `validation`; empty without the file.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_PARITY + 1)
        if len(content) > LARGEST_PARITY:
            raise ValueError(f"it is larger than {LARGEST_PARITY // 1_000_000} MB")
        return checked(_Parity, json.loads(content)).model_dump()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is damaged ({quoted(str(error), 120)}); delete it, and the training writes it again") from error
