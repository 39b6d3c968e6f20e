"""The command `nucleate spins textures`: states of a film and its skyrmions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json, read_series
from nucleate.cli.couple import print_notes
from nucleate.errors import BadInput


def textures(
    couplings: Annotated[
        Path,
        typer.Argument(help="Couplings file of a film, with vacuum along the third lattice vector: .csv, TB2J's exchange.out, or .cfg."),
    ],
    size: Annotated[tuple[int, int], typer.Option(help="Number of cells along the first two lattice vectors.")] = (36, 36),
    fields: Annotated[
        str | None, typer.Option(help="Fields along the normal in T, such as 0,2,4 or START:STOP:STEP; default: 0:10:2.")
    ] = None,
    dipoles: Annotated[bool, typer.Option("--dipoles/--no-dipoles", help="Include the dipole-dipole interaction.")] = True,
    barriers: Annotated[bool, typer.Option("--barriers/--no-barriers", help="Compute the energy barriers of skyrmions.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Figure of the skyrmion, or else of the lowest state, in each field.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the lowest state of a film in fields along its normal, and metastable skyrmions with charge, radius and barrier."""
    from nucleate.progress import Event, Stage
    from nucleate.report.figure_file import check_figure
    from nucleate.report.terminal import make_console
    from nucleate.report.textures import plot_textures, texture_data, texture_table
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    if plot is not None:
        check_figure(plot)
        if not plot.parent.is_dir():
            raise BadInput(f"{plot}: the folder does not exist; create it first")
    series = None if fields is None else read_series(fields, "--fields", "T", "0,2,4")
    known = read_couplings(couplings)
    print_notes(known)
    console = make_console()

    def show(event: Event, /) -> None:
        if isinstance(event, Stage) and not (quiet or as_json):
            console.print(event.name, markup=False, highlight=False)

    try:
        found = api.textures(known, size, series, dipoles=dipoles, barriers=barriers, progress=show)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    if plot is not None:
        plot_textures(found, known, plot)
    if as_json:
        print_json({"fields": texture_data(found), "dipoles": dipoles, "notes": known.notes})
        return
    console.print(texture_table(found))
