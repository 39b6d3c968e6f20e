"""Options and output functions that the verbs share."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import select
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucleate.errors import BadInput, quoted
from nucleate.pretrained import NAMES

if TYPE_CHECKING:
    from nucleate.progress import Progress

SettingsFile = Annotated[Path | None, typer.Option(help="TOML file with settings; options override it. See: nucleate settings.")]
Engine = Annotated[
    str | None,
    typer.Option(
        "--reference",
        help=f"Reference engine: gpaw, espresso, vasp, cp2k, ase, or a surrogate for tests: {NAMES}.",
    ),
]
Prior = Annotated[str | None, typer.Option(help=f"Pretrained potential to correct: {NAMES} or mace:FILE.")]
Prototypes = Annotated[
    bool | None,
    typer.Option(
        "--prototypes/--no-prototypes",
        help="Draw a fifth of the random candidates from known crystals, or none; default: a fifth if there are any.",
    ),
]
Preset = Annotated[str | None, typer.Option(help="Accuracy of the reference: fast, standard or accurate.")]
Pressure = Annotated[float | None, typer.Option(help="External pressure, GPa.")]
Workers = Annotated[int | None, typer.Option(help="Number of simultaneous reference calculations.")]
ExecutorFile = Annotated[
    str | None,
    typer.Option("--executor", help="Executor file (TOML) of a cluster, see docs/slurm.md; local: this computer. The run keeps it."),
]
Blocks = Annotated[
    str | None, typer.Option("--executor", help="Executor file (TOML) of a cluster, in whose blocks the reference runs; see docs/slurm.md.")
]
SharedLedgerAddress = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        help="Ledger that several runs share: SQLite file, or URL such as postgresql://alice@host/labels; see docs/shared-ledger.md.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON; see docs/json.md.")]


def print_json(data: dict[str, Any]) -> None:
    """Print a result as JSON, with the version of its keys."""
    from nucleate.persist.json_data import SCHEMA, finite

    typer.echo(json.dumps(finite({"schema": SCHEMA, **data}), indent=2, ensure_ascii=False))


@contextlib.contextmanager
def interruptible(farewell: str) -> Iterator[None]:
    """End workers and exit with code 130 if what is inside is interrupted.

    Args:
        farewell: line for the user that says what remains and how to go on.
    """
    try:
        yield
    except KeyboardInterrupt:
        end_workers()
        complain(farewell)
        raise typer.Exit(130) from None


@contextlib.contextmanager
def stages_and_bar(as_json: bool, quiet: bool) -> Iterator[Progress]:
    """Return a progress function that prints the names of stages to stderr and shows a bar; not the former if `quiet`."""
    from nucleate.progress import Event, Stage
    from nucleate.report.terminal import Bar, make_console

    bar = Bar(make_console(stderr=as_json), quiet)

    def show_event(event: Event, /) -> None:
        if isinstance(event, Stage) and not quiet:
            complain(event.name)
        bar(event)

    with bar:
        yield show_event


def end_workers() -> None:
    """Terminate all worker processes, which ignore interrupts themselves."""
    for worker in multiprocessing.active_children():
        worker.terminate()


def complain(text: str) -> None:
    """Print a line to stderr, ignoring a closed pipe."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def reader_is_gone() -> bool:
    """Whether the reader of standard output has closed it; a broken pipe may also be one to a worker."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))


def drop_output() -> None:
    """Discard remaining output, since Python flushes its buffers once more at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def read_series(text: str, option: str, unit: str, example: str) -> list[float]:
    """Return numbers from '300,400' or START:STOP:STEP with both ends.

    Args:
        text: the value of the option.
        option: name of the option, for error messages.
        unit: unit of the numbers, for error messages.
        example: list of numbers that a message suggests.

    Raises:
        BadInput: the text is neither, a number is not finite, or a range has more than 1000.
    """
    given = f"{option} {quoted(text, 40)}"
    if ":" not in text:
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            raise BadInput(f"{given}: give numbers in {unit} such as {example}, or START:STOP:STEP") from None
    else:
        try:
            start, stop, step = (float(part) for part in text.split(":"))
            count = (stop - start) / step
        except (ValueError, ZeroDivisionError):
            raise BadInput(f"{given}: give START:STOP:STEP in {unit} with a step that is not zero") from None
        if not 0 <= count < 1000:
            raise BadInput(f"{given}: the step leads away from STOP, or there are more than 1000 numbers")
        numbers = [float(f"{start + k * step:.9g}") for k in range(int(count + 1e-9) + 1)]
    if not all(math.isfinite(number) for number in numbers):
        raise BadInput(f"{given}: give finite numbers in {unit}")
    return numbers


def read_temperatures(text: str) -> list[float]:
    """Return temperatures in K from `--temperatures`; see `read_series`.

    Raises:
        BadInput: the text is no series of numbers, or a temperature is not above zero.
    """
    temperatures = read_series(text, "--temperatures", "K", "300,400,500")
    if not all(t > 0 for t in temperatures):
        raise BadInput(f"--temperatures {quoted(text, 40)}: give temperatures above 0 K")
    return temperatures
