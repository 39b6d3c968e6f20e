"""Trainings of potentials as data for the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nucleate.persist.json_data import finite
from nucleate.persist.locks import is_locked
from nucleate.training.events import Evaluated, Steered, TrainingFinished, TrainingStarted
from nucleate.training.folder import read_events
from nucleate.web.places import id_of

MOST_POINTS = 1000
"""Largest number of evaluations that are returned, the last ones."""


def training_data(path: Path, brief: bool = False) -> dict[str, Any]:
    """Return state, start, evaluations and commands of a training.

    Args:
        path: training folder.
        brief: whether only the entries of a list are returned.

    Returns:
        `id`, `name`, `status` (`running`, `finished` or `stopped`), `step`, and, if not `brief`, `start` (the first event),
        `evaluations` and `commands` (the events of these kinds).

    Raises:
        RunFolderError: the events cannot be read.
    """
    events = read_events(path)
    kinds = [event.get("event") for event in events]
    status = "running" if is_locked(path / "lock") else "finished" if TrainingFinished.kind in kinds else "stopped"
    steps = [event["step"] for event in events if isinstance(event.get("step"), int)]
    data: dict[str, Any] = {"id": id_of(path), "name": path.name, "status": status, "step": max(steps, default=0)}
    if brief:
        return data
    data |= {
        "start": next((event for event in events if event.get("event") == TrainingStarted.kind), None),
        "evaluations": [event for event in events if event.get("event") == Evaluated.kind][-MOST_POINTS:],
        "commands": [event for event in events if event.get("event") == Steered.kind],
    }
    result: dict[str, Any] = finite(data)
    return result
