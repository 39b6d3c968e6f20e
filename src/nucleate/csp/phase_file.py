"""The file that states the phase of a running search, for pages that show it: phase.json in the run folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import StorageFailed
from nucleate.persist.checked import checked
from nucleate.persist.files import write_whole
from nucleate.progress import Event, Step

NAME = "phase.json"
SECONDS = 1.0
"""Smallest time between two versions of the file, s."""


class Phase(BaseModel):
    """Phase of a search.

    Attributes:
        phase: name of the phase, as beside a progress bar.
        done, total: numbers of finished parts and of all parts of the phase.
    """

    model_config = ConfigDict(extra="forbid")

    phase: str = Field(max_length=200)
    done: int = Field(ge=0)
    total: int = Field(ge=0)


class PhaseFile:
    """Writes the phase of every `Step`, at most once in `SECONDS`.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._written = -SECONDS

    def __call__(self, event: Event, /) -> None:
        """Write the file if the event is a `Step` and the last version is old enough; a failure does not stop the search."""
        now = time.monotonic()
        if not isinstance(event, Step) or now - self._written < SECONDS:
            return
        self._written = now
        try:
            write_whole(self.path, json.dumps({"phase": event.phase[:200], "done": event.done, "total": event.total}))
        except StorageFailed:
            return

    def remove(self) -> None:
        """Remove the file, when the search ends."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError:
            return


def read_phase(folder: Path) -> dict[str, Any] | None:
    """Return `phase`, `done` and `total` of a running search; None if there is no such file, or a damaged one."""
    try:
        return checked(Phase, json.loads((folder / NAME).read_text(encoding="utf-8"))).model_dump()
    except (OSError, ValueError, RecursionError):
        return None
