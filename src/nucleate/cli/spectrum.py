"""The command `nucleate spins spectrum`: dynamical structure factor of spins at a temperature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json
from nucleate.cli.couple import print_notes
from nucleate.errors import BadInput


def spectrum(
    couplings: Annotated[Path, typer.Argument(help="Couplings file: a .csv table, TB2J's exchange.out, or a Spirit .cfg.")],
    temperature: Annotated[float, typer.Option(help="Temperature in K.")],
    size: Annotated[int, typer.Option(help="Number of cells along each coupled lattice vector; sets the wave vectors.")] = 12,
    path: Annotated[str | None, typer.Option(help="Special points of the path, for example GXMG; default: ASE's standard path.")] = None,
    resolution: Annotated[float, typer.Option(help="Full width at half maximum of a sharp mode in meV.")] = 2.0,
    windows: Annotated[int, typer.Option(help="Number of independent runs; the noise falls with its square root.")] = 8,
    field: Annotated[tuple[float, float, float], typer.Option(help="Magnetic field in T.")] = (0.0, 0.0, 0.0),
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Table of the intensities (.csv).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of the intensities, for example spectrum.png.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Simulate the dynamical structure factor S(q, E) at a temperature: intensities and energies of spin waves along a path."""
    from nucleate.persist.files import write_whole
    from nucleate.report.figure_file import check_figure
    from nucleate.report.spin_spectrum import plot_spectrum, spectrum_csv, spectrum_data, spectrum_table
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    for each in (out, plot):
        if each is not None and not each.parent.is_dir():
            raise BadInput(f"{each}: the folder does not exist; create it first")
    if plot is not None:
        check_figure(plot)
    if out is not None and out.suffix != ".csv":
        raise BadInput(f"{out}: intensities are written as .csv")
    known = read_couplings(couplings)
    print_notes(known)
    console = make_console()
    try:
        with Bar(console, quiet or as_json) as bar:
            found = api.spectrum(
                known, temperature, size, path, resolution=resolution, windows=windows, field=field, seed=seed, progress=bar
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    if out is not None:
        write_whole(out, spectrum_csv(found))
    if plot is not None:
        plot_spectrum(found, plot)
    if as_json:
        print_json({**spectrum_data(found), "notes": known.notes})
        return
    console.print(spectrum_table(found))
