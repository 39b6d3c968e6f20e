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
"""Bytes; the trainer writes some thousand pairs."""

# Beyond these, axes overflow; what diverged is null.
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Figure = Number | None
Step = Annotated[int, Field(ge=0, lt=2**53)]
Text = Annotated[str, Field(max_length=10_000)]


class _Told(BaseModel):
    # Entries that the page does not show may come and go.
    model_config = ConfigDict(strict=True)


class _Start(_Told):
    model: Text
    species: list[Text] = Field(max_length=200)
    parameters: Step
    members: Step
    training: Step
    validation: Step
    split_by: Text
    notes: list[Text] = Field(max_length=1000)


class _Step(_Told):
    step: Step
    loss: Figure
    temperature: Figure


class _Errors(_Told):
    loss: Figure
    energy_rmse: Figure
    force_rmse: Figure
    informants: dict[Text, Figure] = Field(max_length=200)


class _Noise(_Told):
    scale: Figure


class _Weights(_Told):
    counts: list[Step] = Field(min_length=1, max_length=10_000)
    low: Number
    high: Number


class _Evaluation(_Told):
    step: Step
    training: _Errors
    validation: _Errors | None = None
    noise: _Noise
    weights: dict[Text, _Weights] = Field(max_length=10_000)


class _Steer(_Told):
    step: Step
    command: dict[Text, Text | float | int] = Field(max_length=20)
    refused: Text | None = None


class _Finished(_Told):
    step: Step
    why: Text


_KINDS: dict[str, type[BaseModel]] = {
    "start": _Start,
    "step": _Step,
    "evaluation": _Evaluation,
    "steer": _Steer,
    "finished": _Finished,
}


class _Pairs(_Told):
    energy: list[tuple[Number, Number]] = Field(default_factory=list)
    force: list[tuple[Number, Number]] = Field(default_factory=list)


class _Parity(_Told):
    training: _Pairs
    validation: _Pairs = Field(default_factory=lambda: _Pairs())


def training_events(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The events of each kind that the page shows.

    Raises:
        BadInput: no training there, or an event is damaged.
    """
    told: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for event in read_events(folder):
        kind = event.get("event")
        if not isinstance(kind, str) or kind not in told:
            continue
        try:
            checked(_KINDS[kind], event)
        except ValueError as error:
            text = f"a line of the event '{kind}' is damaged ({quoted(str(error), 120)}); delete that line"
            raise BadInput(f"{folder / 'events.jsonl'}: {text}") from error
        # A set that is not there is left out or null; the page asks whether it is in the event.
        told[kind].append({name: value for name, value in event.items() if value is not None} if kind in ("evaluation", "steer") else event)
    if not told["start"]:
        raise BadInput(f"{folder}: no training here")
    return told


def parity_pairs(path: Path) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """(reference, potential) pairs of `energy` and `force`, of the sets `training` and `validation`; empty without the file.

    Raises:
        BadInput: the file is damaged.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_PARITY + 1)
        if len(content) > LARGEST_PARITY:
            raise ValueError("it is larger than any that nucleate writes")
        return checked(_Parity, json.loads(content)).model_dump()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is damaged ({quoted(str(error), 120)}); delete it: the training writes it again") from error
