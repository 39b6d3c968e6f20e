"""Progress of long calculations: one protocol and typed events.

A function that takes long accepts `progress`, any callable that takes one event, and calls it as the calculation advances::

    nucleate.search("Si8", progress=print)

Events are frozen dataclasses. Every room may report `Step` and `Note`; events of its own are defined in its `events.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True)
class Event:
    """Base class of all events."""


@dataclass(frozen=True)
class Step(Event):
    """A part of the calculation is done.

    Attributes:
        phase: Name of the phase, as shown beside a progress bar.
        done: Number of finished parts.
        total: Number of all parts of the phase.
    """

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Stage(Event):
    """A stage of the calculation begins.

    Attributes:
        name: Name of the stage.
    """

    name: str


@dataclass(frozen=True)
class Note(Event):
    """A remark for the user; the calculation continues."""

    text: str


@dataclass(frozen=True)
class LoggedEvent(Event):
    """Base class of the events that are also written to the event log of a folder.

    Attributes:
        kind: Value of the entry `event` in the log.
    """

    kind: ClassVar[str]

    def facts(self) -> dict[str, Any]:
        """Return the entries of the log: the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Progress(Protocol):
    """A callable that receives the events of a calculation.

    An exception raised by it ends the calculation, which can be resumed as after an interrupt.
    """

    def __call__(self, event: Event, /) -> None:
        """Receive one event."""


def silent(event: Event, /) -> None:
    """Ignore an event."""


def in_phase(phase: str, progress: Progress) -> Progress:
    """Return a progress callable that passes events on to `progress`, with the phase of every `Step` renamed."""

    def renamed(event: Event, /) -> None:
        progress(replace(event, phase=phase) if isinstance(event, Step) else event)

    return renamed
