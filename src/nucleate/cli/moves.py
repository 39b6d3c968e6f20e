"""The verb `train-moves`: a policy of moves for relaxations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import Quiet, interruptible

SettingsFile = Annotated[Path | None, typer.Option("--settings", help="TOML file; see docs/learned-moves.md.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command("train-moves")(train_moves)


def train_moves(
    model: Annotated[Path, typer.Argument(help="Model file of a potential, of a search or a training.")],
    formulas: Annotated[list[str], typer.Argument(metavar="FORMULA...", help="Formulas of the random cells, such as Si8.")],
    out: Annotated[Path, typer.Option(help="Policy file; the same command resumes from its checkpoint.")],
    settings: SettingsFile = None,
    method: Annotated[str | None, typer.Option(help="evolution or unrolling.")] = None,
    generations: Annotated[int | None, typer.Option(min=1, help="Number of updates.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed of cells, weights and perturbations.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train moves of relaxations on a learned potential, for relax --optimiser learned:FILE."""
    from nucleate.persist.toml import resolved
    from nucleate.progress import Event, Stage
    from nucleate.relax.learned.settings import MoveSettings
    from nucleate.relax.learned.training import MovesUpdate
    from nucleate.relax.learned.training import train_moves as train

    chosen = resolved(MoveSettings, settings, method=method, generations=generations, seed=seed)

    def show_event(event: Event, /) -> None:
        if quiet:
            return
        if isinstance(event, Stage):
            typer.echo(event.name)
        if isinstance(event, MovesUpdate):
            checked = "" if event.validation is None else "; validation {:.4f}, L-BFGS {:.4f}".format(*event.validation)
            typer.echo(f"update {event.update} of {event.total}: return {event.value:.4f}{checked}")

    with interruptible("stopped; repeat the command to resume from the last update"):
        path = train(model, formulas, out, chosen, show_event)
    typer.echo(f"policy: {path}")
