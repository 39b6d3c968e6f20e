"""The command line: verbs only; `api.py` does the work, `report` shows it."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nucleate.cli import (
    barriers,
    benchmark,
    campaign,
    check,
    cluster,
    csp,
    electrons,
    export,
    lattice,
    match,
    moves,
    onedim,
    potentials,
    replay,
    serve,
    spins,
)
from nucleate.cli.common import complain, drop_output, end_workers, reader_is_gone
from nucleate.errors import InputNote, NucleateError, quoted
from nucleate.processes.interrupts import listening

MOST_NOTES = 5


class _Verbs(TyperGroup):
    """Command group that prints user errors as one line on stderr and sets the exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            with listening():
                return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt as interrupt:
            if isinstance(interrupt.__cause__, typer.Exit):
                # The verb has said what remains.
                raise interrupt.__cause__ from None
            end_workers()
            complain("stopped")
            raise typer.Exit(130) from None
        except Exception as error:
            if isinstance(error, BrokenPipeError) and reader_is_gone():
                # The reader has closed the output, as `head` does.
                end_workers()
                drop_output()
                raise typer.Exit(0) from None
            if os.environ.get("NUCLEATE_DEBUG") or type(error).__module__.startswith(("click", "typer")):
                raise
            complain(f"error: {_one_line(error)}")
            raise typer.Exit(error.exit_code if isinstance(error, NucleateError) else 1) from None


class _Notes:
    """Prints notes about how files were read: each note once, and only the first few."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, message: Warning | str, *unused: Any, **more: Any) -> None:
        """Print a warning; this function replaces `warnings.showwarning`."""
        text = str(message)
        if text in self._shown or len(self._shown) > MOST_NOTES:
            return
        self._shown.add(text)
        complain(f"note: {text}" if len(self._shown) <= MOST_NOTES else "note: and more like these")


LONGEST_MESSAGE = 500
"""Characters of an error's line; most are below 200, and whatever comes from outside is cut to 80 where it is taken in."""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, NucleateError):
        return quoted(text, LONGEST_MESSAGE)
    if isinstance(error, OSError):
        reason = quoted(error.strerror or text, 200)
        return f"{quoted(str(error.filename), 200)}: {reason}" if error.filename else f"{reason} (NUCLEATE_DEBUG=1 shows where)"
    return f"{type(error).__name__}: {quoted(text, 120)} (a bug: NUCLEATE_DEBUG=1 shows where; please report it)"


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Crystal structure prediction from first principles: find the polymorphs of a formula and rank them.",
)
for _room in (
    csp, campaign, replay, export, check, barriers, match, serve, cluster, benchmark, potentials, moves, electrons, spins, lattice, onedim,
):  # fmt: skip
    _room.register(app)


def _version(asked: bool) -> None:
    if asked:
        import nucleate

        typer.echo(f"nucleate {nucleate.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")] = False,
) -> None:
    if not os.environ.get("NUCLEATE_DEBUG"):
        import warnings

        warnings.simplefilter("ignore")
        # Worker processes inherit the setting.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        warnings.filterwarnings("always", category=InputNote)
        warnings.showwarning = _Notes()


INTERRUPTED = 130
"""Exit code after an interrupt."""


def _leave_interrupted() -> None:
    """End the process with the exit code of an interrupt that has been handled.

    On a busy machine, Python ended 2 of 30 interrupted searches by SIGINT at its exit, although the interrupt had been handled.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.flush()
    os._exit(INTERRUPTED)


def main() -> None:
    """Run the command line of this process."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        # Batch systems end jobs with SIGTERM: every verb handles it like an interrupt by the user.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except KeyboardInterrupt:
        # It came before the verb began, or after it had ended.
        end_workers()
        complain("stopped")
        _leave_interrupted()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            _leave_interrupted()
        raise
    finally:
        # Flush now, because errors at the end of the interpreter would be printed and change the exit code.
        try:
            sys.stdout.flush()
        except (AttributeError, ValueError):
            pass  # The stream was closed before the program started.
        except BrokenPipeError:
            drop_output()
