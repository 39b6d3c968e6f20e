"""Events of sampling and training of the local density of states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nucleate.progress import Event, Step


@dataclass(frozen=True)
class SnapshotDone(Step):
    """The ground state of a snapshot is computed and stored.

    Attributes:
        number: Number of the snapshot.
        details: Number of iterations, CPU-seconds and similar data, as stored with the snapshot.
    """

    number: int
    details: dict[str, Any]


@dataclass(frozen=True)
class SnapshotFailed(Event):
    """The ground state of a snapshot failed; the snapshot is skipped.

    Attributes:
        number: Number of the snapshot.
        reason: Reason of the failure.
    """

    number: int
    reason: str


@dataclass(frozen=True)
class NetworkStep(Step):
    """The network was trained for a number of steps.

    Attributes:
        loss: Mean loss since the last event.
        cpu_seconds: CPU time since the start of the training in s.
    """

    loss: float
    cpu_seconds: float
