"""Progress of a search on a console."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nucleate.csp.events import (
    FolderOpened,
    LabelDone,
    MagneticDone,
    MoleculeFitted,
    PolymorphChecked,
    PolymorphConfirmed,
    ProofDone,
    RankedAccurately,
    RoundDone,
    SearchFinished,
    SearchResumed,
    TeacherBegins,
    TeacherDone,
    TeacherJudged,
)
from nucleate.pretrained import shown_name
from nucleate.progress import Event, Note, Step
from nucleate.report.run_text import accurate_line, magnetic_line, proof_line, round_line, surrogate_warning, teacher_lines
from nucleate.report.terminal import plain


class SearchView:
    """Progress of a search on a console: bars on a terminal, lines elsewhere, nothing when quiet.

    Use as a context, and pass the view itself as `progress` of the search.
    """

    def __init__(self, console: Console, quiet: bool = False):
        self.console = console
        self.quiet = quiet
        self.folder: str | None = None
        self._live = console.is_terminal and not quiet
        self._bar: Progress | None = None
        self._task: Any = None
        self._phase: str | None = None
        self._shown = 0.0

    def __enter__(self) -> SearchView:
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), MofNCompleteColumn(),
                TimeElapsedColumn(), console=self.console, transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def __call__(self, event: Event, /) -> None:
        """Show one event of the search."""
        if isinstance(event, FolderOpened):
            self.folder = event.path
        if self.quiet:
            return
        if isinstance(event, Step):
            self._update(event)
        else:
            text, style = event_line(event)
            if text:
                self.console.print(plain(text), style=style, highlight=False, markup=False, soft_wrap=True)

    def _update(self, step: Step) -> None:
        if self._bar is None:
            return
        if step.phase != self._phase:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task, self._phase = self._bar.add_task(plain(step.phase), total=step.total), step.phase
        now = time.monotonic()
        # Redrawing the bar at each of a thousand training steps would cost time.
        if step.done >= step.total or now - self._shown > 0.1:
            self._shown = now
            self._bar.update(self._task, completed=step.done, total=step.total)


def event_line(event: Event) -> tuple[str, str | None]:
    """Return the line that reports an event of a search, empty for none, and its style."""
    match event:
        case FolderOpened():
            text = f"searching {event.formula} on {shown_name(event.reference)}, at most {event.budget} calls, in {event.path}"
            return (f"{text}\n{surrogate_warning(event.reference)}" if event.surrogate else text), None
        case Note():
            return event.text, "yellow"
        case TeacherBegins():
            return f"first searching {event.name}, at most {event.budget} evaluations, which are not reference calls", None
        case TeacherDone():
            return teacher_lines(event.facts(), None)[0], None
        case TeacherJudged():
            return teacher_lines(None, event.facts())[0], None if event.kept else "yellow"
        case MoleculeFitted():
            how = "relaxed alone" if event.relaxed else "alone"
            text = f"{event.formula} {how}: {event.energy:.4f} eV, bonds and angles fitted to {event.error:.2f} eV/Å, {event.calls} calls"
            return text, None
        case SearchResumed():
            return f"resumed after round {event.round}, {event.calls} calls", None
        case LabelDone(failed=str(failed)):
            reason = failed.strip().splitlines() or ["no reason given"]
            return f"  calculation failed: {reason[0]}", "yellow"
        case PolymorphConfirmed():
            name = f"{event.formula} {event.space_group}".strip()
            return f"  confirmed {name}, {event.energy:.4f} eV/atom, after {event.calls} calls", "green"
        case PolymorphChecked(check="saddle"):
            return f"  {event.space_group}, {event.energy:.4f} eV/atom, is a saddle: the search continues below it", "yellow"
        case PolymorphChecked():
            return f"  checked {event.space_group}, {event.energy:.4f} eV/atom: {event.check}", None
        case RoundDone():
            return round_line(event.facts()), None
        case SearchFinished():
            return f"ended because {event.why}", None
        case MagneticDone():
            return magnetic_line(event.facts()), None
        case RankedAccurately():
            return accurate_line(event.facts()), None
        case ProofDone():
            return proof_line(event.facts()), None
    return "", None
