"""Commands under `nucleate onedim`: invert, propagate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucleate.cli.common import AsJson, Quiet, print_json
from nucleate.errors import BadInput

if TYPE_CHECKING:
    from nucleate.onedim.wells import Well

WellFile = Annotated[
    Path | None, typer.Argument(help="Table of x (bohr), external potential (hartree) and optionally density (1/bohr); or use --atoms.")
]
Atoms = Annotated[
    str | None, typer.Option(help="Soft-Coulomb atoms as CHARGE@POSITION (bohr), for example '2@-1 2@+1'; '1@0' is hydrogen.")
]
HalfLength = Annotated[
    float | None, typer.Option(help="Half length of the grid in bohr, with --atoms; default: 15 beyond the outermost atom.")
]
Points = Annotated[int | None, typer.Option(help="Number of grid points, with --atoms; default: 401, and 201 for propagate.")]
Softening = Annotated[float, typer.Option(help="Length a of the interactions 1 / sqrt(x^2 + a^2), in bohr.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verbs = typer.Typer(
        no_args_is_help=True,
        help="Electrons in one dimension: invert densities, follow laser pulses. In Hartree atomic units, unlike the rest of nucleate.",
    )
    for function in (invert, propagate):
        verbs.command()(function)
    app.add_typer(verbs, name="onedim")


def _well(file: Path | None, atoms: str | None, half_length: float | None, points: int | None, softening: float) -> Well:
    from nucleate.onedim import api

    if (file is None) == (atoms is None):
        raise BadInput("well: give either a file of the potential or --atoms, for example --atoms '2@-1 2@+1'")
    if file is None:
        assert atoms is not None
        return api.atoms_well(atoms, half_length, 401 if points is None else points, softening)
    if half_length is not None or points is not None:
        raise BadInput(f"{file}: gives the grid; leave out --half-length and --points")
    return api.read_well(file, softening)


def _check_outputs(out: Path | None, plot: Path | None) -> None:
    from nucleate.report.figure_file import check_figure

    for path in (out, plot):
        if path is not None and not path.parent.is_dir():
            raise BadInput(f"{path}: the folder does not exist; create it first")
    if out is not None and out.suffix != ".csv":
        raise BadInput(f"{out}: the table is written as .csv")
    if plot is not None:
        check_figure(plot)


def invert(
    file: WellFile = None,
    atoms: Atoms = None,
    electrons: Annotated[int, typer.Option(help="Number of electrons; more than two need a density in the file.")] = 2,
    ionisation: Annotated[
        float | None, typer.Option(help="Ionisation energy in hartree of a given density; it fixes the constant of v_xc.")
    ] = None,
    half_length: HalfLength = None,
    points: Points = None,
    softening: Softening = 1.0,
    out: Annotated[Path | None, typer.Option(help="Table of x, n, v_ext, v_H, v_xc and v_s (.csv).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of density and potentials, for example helium.png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute the exact Kohn-Sham potential of a density: of one or two interacting electrons in a well, or of a given density."""
    from nucleate.onedim import api
    from nucleate.persist.files import write_whole
    from nucleate.report.onedim import columns_csv, inverted_columns, inverted_data, inverted_lines, plot_inverted
    from nucleate.report.terminal import make_console

    _check_outputs(out, plot)
    result = api.invert(_well(file, atoms, half_length, points, softening), electrons, ionisation)
    if out is not None:
        write_whole(out, columns_csv(inverted_columns(result)))
    if plot is not None:
        plot_inverted(result, plot)
    if as_json:
        print_json(inverted_data(result))
        return
    console = make_console()
    for text in inverted_lines(result):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def propagate(
    file: WellFile = None,
    atoms: Atoms = None,
    electrons: Annotated[int, typer.Option(help="Number of electrons.")] = 2,
    theory: Annotated[str, typer.Option(help="exact (one or two electrons) or kohn-sham (adiabatic exchange).")] = "exact",
    amplitude: Annotated[float, typer.Option(help="Largest electric field in atomic units (51.42 V/Å).")] = 0.02,
    frequency: Annotated[float, typer.Option(help="Frequency of the pulse in hartree.")] = 0.15,
    cycles: Annotated[float, typer.Option(help="Number of periods of the pulse, whose envelope is sin^2.")] = 4.0,
    time: Annotated[float | None, typer.Option(help="Time to simulate in atomic units (0.02419 fs); default: the pulse.")] = None,
    time_step: Annotated[float, typer.Option(help="Time step in atomic units.")] = 0.05,
    every: Annotated[int, typer.Option(help="Number of steps between two rows of the table.")] = 20,
    half_length: HalfLength = None,
    points: Points = None,
    softening: Softening = 1.0,
    out: Annotated[Path | None, typer.Option(help="Table of time, field, dipole, norm and energy (.csv).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of field, dipole and energy, for example pulse.png.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Propagate electrons in a laser pulse from their ground state, by Crank-Nicolson steps."""
    from nucleate.onedim import api
    from nucleate.persist.files import write_whole
    from nucleate.report.onedim import columns_csv, plot_propagated, propagated_columns, propagated_data, propagated_lines
    from nucleate.report.terminal import Bar, make_console

    _check_outputs(out, plot)
    well = _well(file, atoms, half_length, 201 if points is None and atoms is not None else points, softening)
    console = make_console()
    with Bar(console, quiet or as_json) as bar:
        result = api.propagate(
            well, electrons, theory=theory, amplitude=amplitude, frequency=frequency, cycles=cycles, time=time, time_step=time_step,
            every=every, progress=bar,
        )  # fmt: skip
    if out is not None:
        write_whole(out, columns_csv(propagated_columns(result)))
    if plot is not None:
        plot_propagated([result], plot)
    if as_json:
        print_json(propagated_data(result))
        return
    for text in propagated_lines(result):
        console.print(text, highlight=False, markup=False, soft_wrap=True)
