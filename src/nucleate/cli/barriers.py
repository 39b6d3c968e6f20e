"""The verb `barriers`: how high are the barriers between these polymorphs?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nucleate.cli.common import AsJson, Engine, Pressure, Quiet, SharedLedgerAddress, interruptible, print_json, stages_and_bar
from nucleate.errors import BadInput, quoted

if TYPE_CHECKING:
    from nucleate.polymorphs.barriers.results import BarriersResult
    from nucleate.polymorphs.barriers.settings import BarrierSettings


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(barriers)


def barriers(
    source: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="Run folder, or structure file with --model.")],
    model: Annotated[Path | None, typer.Option(help="Model file of the committee; default: the last one of the run folder.")] = None,
    top: Annotated[
        int | None, typer.Option(help="Number of polymorphs, the lowest first; default: 5 of a run folder, all structures of a file.")
    ] = None,
    atoms: Annotated[int | None, typer.Option(help="Largest number of atoms in a common cell; default 16, at most 24.")] = None,
    paths: Annotated[int | None, typer.Option(help="Number of starting paths of each pair; default 3.")] = None,
    images: Annotated[int | None, typer.Option(help="Number of images of a path, with both ends; default 9.")] = None,
    fmax: Annotated[float | None, typer.Option(help="Convergence threshold of a path, eV/Å; default 0.02.")] = None,
    steps: Annotated[int | None, typer.Option(help="Largest number of steps of a path; default 500.")] = None,
    splits: Annotated[int | None, typer.Option(help="How often paths are divided at intermediate minima; default 1.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the random displacements of the starting paths; default 0.")] = None,
    spots: Annotated[
        int | None, typer.Option(help="Number of barriers, the lowest first, whose ends and top the reference labels; default 0.")
    ] = None,
    reference: Engine = None,
    pressure: Pressure = None,
    ledger: SharedLedgerAddress = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; default: barriers in or beside the source.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Calculate barriers between polymorphs on the committee of a search, and draw their disconnectivity graph."""
    from nucleate.polymorphs.barriers.calculate import barriers as calculate
    from nucleate.report.barriers import write_barriers_page

    chosen = _settings({
        "atoms": atoms, "paths": paths, "images": images, "fmax": fmax, "max_steps": steps, "splits": splits, "seed": seed, "spots": spots,
    })  # fmt: skip
    with interruptible("stopped; no result is written"), stages_and_bar(as_json, quiet) as progress:
        result = calculate(
            source, chosen, model=model, reference=reference, top=top, pressure=pressure, ledger=ledger, out=out, progress=progress
        )
    page = write_barriers_page(result)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result, page)


def _settings(options: dict[str, Any]) -> BarrierSettings:
    """Return the settings of the options that are given."""
    from pydantic import ValidationError

    from nucleate.polymorphs.barriers.settings import BarrierSettings

    try:
        return BarrierSettings.model_validate({name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0]).replace("max_steps", "steps")
        raise BadInput(f"--{name} {quoted(problem['msg'], 120)} (got {quoted(problem['input'], 40)})") from None


def _show(result: BarriersResult, page: Path) -> None:
    """Print the table and the remarks."""
    from rich.table import Table

    from nucleate.report.barriers import COLUMNS, TEXT, headline, remarks, rows_of, warnings_of
    from nucleate.report.terminal import make_console

    console = make_console()
    for line in warnings_of(result):
        console.print(line, style="yellow", soft_wrap=True)
    console.print(headline(result), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for k, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if k in TEXT else "right", overflow="fold")
    for row in rows_of(result):
        table.add_row(*row)
    console.print(table)
    for line in remarks(result):
        console.print(line, soft_wrap=True)
    console.print(f"page and paths: {page}", soft_wrap=True)
