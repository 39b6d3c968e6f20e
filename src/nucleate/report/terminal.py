"""Consoles and progress bars."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from nucleate.processes.interrupts import check
from nucleate.progress import Event, Note, Step


def plain(text: object) -> str:
    """Return external text without control characters."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in str(text))


class PlainConsole(Console):
    """Console without markup, emoji and control characters; colours are given as `style`.

    It raises `BrokenPipeError` if the reader has closed the stream, as other streams do, and never ends the program itself.
    """

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Remove control characters from every string that is printed, including cells of tables."""
        return super().render_str(plain(text), **options)

    def on_broken_pipe(self) -> None:
        """Raise `BrokenPipeError`."""
        raise BrokenPipeError


def make_console(stderr: bool = False) -> Console:
    """Return a console that does not truncate tables in a pipe and interprets no markup."""
    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=200)


class Bar:
    """Progress bars, one for each phase, shown on a terminal only."""

    def __init__(self, console: Console, quiet: bool):
        self._show = console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=28), TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(), console=console, transient=True,
        )  # fmt: skip
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Bar:
        if self._show:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._show:
            self._progress.stop()

    def __call__(self, event: Event, /) -> None:
        """Update the bar of the phase of a `Step`; print a `Note` to stderr; raise an interrupt that has been discarded on the way."""
        check()
        if isinstance(event, Note):
            print(plain(event.text), file=sys.stderr)
        elif isinstance(event, Step) and self._show:
            task = self._tasks.get(event.phase)
            if task is None:
                task = self._tasks[event.phase] = self._progress.add_task(plain(event.phase), total=event.total)
            self._progress.update(task, completed=event.done)
