"""The verb `export`: results for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(export)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder of a search.")],
    to: Annotated[
        str, typer.Option(help="Format: res (AIRSS), json (pymatgen's entries), ase-db (all calculations), aiida, optimade or ro-crate.")
    ],
    out: Annotated[Path | None, typer.Option(help="File or folder to write; default: named after the run folder, beside it.")] = None,
) -> None:
    """Write the results of a search for another program."""
    from nucleate.export.formats import export as write

    path, what = write(folder, to, out)
    typer.echo(f"{path}: {what}")
