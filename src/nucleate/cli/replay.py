"""The verb `replay`: is a result what its ledger says?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(replay)


def replay(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder of a search.")],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make every decision of a search again, with its ledger in the place of the reference; name the first one that differs."""
    from dataclasses import asdict

    from nucleate.csp.events import RoundDone
    from nucleate.csp.replay import replay as run_replay
    from nucleate.progress import Event

    def show(event: Event, /) -> None:
        if isinstance(event, RoundDone) and not quiet and not as_json and sys.stderr.isatty():
            typer.echo(f"\r\x1b[K{event.record.round + 1} rounds, {event.record.calls} calculations of the ledger", err=True, nl=False)

    result = run_replay(folder, show)
    if not quiet and not as_json and sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        print_json(asdict(result))
    elif not quiet:
        rounds, calls = (f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((result.rounds, "round"), (result.calls, "calculation")))
        typer.echo(f"{rounds} decided again with {calls} of the {result.recorded} in the ledger; none was made")
        if result.divergence is not None:
            typer.echo(f"the first decision that differs: {result.divergence}")
        elif result.numbers is not None:
            typer.echo(f"all decisions are the same; the first number that differs: {result.numbers}")
        else:
            typer.echo("all decisions and all numbers are the same")
    if result.divergence is not None:
        raise typer.Exit(1)
