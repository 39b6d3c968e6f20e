"""Commands under `nucleate spins`: lattice, show, convert, magnons, simulate; the others are in modules of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Quiet, print_json, read_temperatures
from nucleate.cli.couple import couple, given_moments, print_notes
from nucleate.cli.pair_models import register_models
from nucleate.cli.spectrum import spectrum
from nucleate.cli.textures import textures
from nucleate.errors import BadInput

CouplingsFile = Annotated[Path, typer.Argument(help="Couplings file: a .csv table, TB2J's exchange.out, or a Spirit .cfg.")]


COARSE = 0.2
"""Spacing of the temperatures, as a fraction of T_C, above which the error of the interpolation is not small."""


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verbs = typer.Typer(no_args_is_help=True, help="Compute, learn and convert exchange couplings; simulate spins.")
    for function in (couple, lattice, show, convert, magnons, spectrum, textures, simulate):
        verbs.command()(function)
    register_models(verbs)
    app.add_typer(verbs, name="spins")


def lattice(
    structure: Annotated[Path, typer.Argument(help="Structure file of a crystal with magnetic atoms.")],
    out: Annotated[Path, typer.Argument(help="Output table of couplings (.csv).")],
    moment: Annotated[
        list[str], typer.Option(help="Magnetic moment of an element in Bohr magnetons, for example Mn=4.5; repeat for each element.")
    ],
    shell: Annotated[list[float], typer.Option(help="Coupling of a shell in meV, nearest shell first; repeat for each shell.")],
) -> None:
    """Assign couplings to a crystal, shell by shell."""
    from nucleate.persist.files import write_whole
    from nucleate.report.spins import shell_table
    from nucleate.report.terminal import make_console
    from nucleate.spins import api
    from nucleate.spins.files.table import table_text

    _check_folder(out)
    if out.suffix != ".csv":
        raise BadInput(f"{out}: couplings are written as .csv; convert the table afterwards with `nucleate spins convert`")
    couplings = api.assign_shells(structure, given_moments(moment), shell)
    write_whole(out, table_text(couplings))
    make_console().print(shell_table(couplings))


def show(couplings: CouplingsFile, as_json: AsJson = False) -> None:
    """Show the coupling shells, the magnetic order and estimates of the transition temperature."""
    from dataclasses import asdict

    from nucleate.report.spins import shell_table, shells
    from nucleate.report.terminal import make_console
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    known = read_couplings(couplings)
    print_notes(known)
    estimate = api.estimate(known)
    if as_json:
        print_json({"shells": shells(known), "estimates": asdict(estimate), "notes": known.notes})
        return
    console = make_console()
    console.print(shell_table(known))
    _print_estimate(estimate, console)


def _print_estimate(estimate: Any, console: Any) -> None:
    q = ", ".join(f"{x:.3f}" for x in estimate.wave_vector)
    rpa = f"{estimate.rpa:.1f} K" if estimate.rpa is not None else f"none ({estimate.rpa_failure})"
    signs = estimate.sublattices
    if signs is not None and len(signs) > 1:
        q += "; sites " + " ".join("+" if sign > 0 else "-" for sign in signs)
    console.print(f"order at q = ({q}); mean field: {estimate.mean_field:.1f} K, RPA: {rpa}", highlight=False, markup=False, soft_wrap=True)


def convert(
    couplings: CouplingsFile,
    out: Annotated[Path, typer.Argument(help="Output file; the suffix selects the format: .csv, .out (TB2J) or .cfg (Spirit).")],
    cells: Annotated[tuple[int, int, int], typer.Option(help="Number of cells along each lattice vector (Spirit).")] = (10, 10, 10),
) -> None:
    """Convert couplings between file formats."""
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    known = read_couplings(couplings)
    print_notes(known)
    lost = api.convert(known, out, cells)
    if lost:
        typer.echo(f"{out}: the format cannot store {', '.join(lost)}", err=True)


def magnons(
    couplings: CouplingsFile,
    path: Annotated[str | None, typer.Option(help="Special points of the path, for example GXMG; default: ASE's standard path.")] = None,
    points: Annotated[int, typer.Option(help="Number of wave vectors on the path.")] = 200,
    field: Annotated[tuple[float, float, float], typer.Option(help="Magnetic field in T.")] = (0.0, 0.0, 0.0),
    out: Annotated[Path | None, typer.Option(help="Table of the energies on the path (.csv).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of energies and density of states, for example magnons.png.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compute energies of magnons (linear spin waves): dispersion, gap, stiffness or velocity, density of states."""
    from nucleate.persist.files import write_whole
    from nucleate.report.figure_file import check_figure
    from nucleate.report.spins import magnon_csv, magnon_data, magnon_lines, magnon_table, plot_magnons
    from nucleate.report.terminal import make_console
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    if plot is not None:
        check_figure(plot)
        _check_folder(plot)
    if out is not None:
        _check_folder(out)
        if out.suffix != ".csv":
            raise BadInput(f"{out}: energies are written as .csv")
    known = read_couplings(couplings)
    print_notes(known)
    result = api.magnons(known, path, points=points, field=field)
    if out is not None:
        write_whole(out, magnon_csv(result))
    if plot is not None:
        plot_magnons(result, plot)
    if as_json:
        print_json({**magnon_data(result), "notes": known.notes})
        return
    console = make_console()
    console.print(magnon_table(result))
    for text in magnon_lines(result):
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def simulate(
    couplings: CouplingsFile,
    temperatures: Annotated[
        str | None, typer.Option(help="Temperatures in K: 300,400,500 or START:STOP:STEP with both ends, such as 210:300:15.")
    ] = None,
    temperature_range: Annotated[tuple[float, float, int] | None, typer.Option(hidden=True)] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the table and checkpoints; repeating the command resumes an interrupted run.")
    ] = None,
    method: Annotated[str, typer.Option(help="Method: monte-carlo or dynamics.")] = "monte-carlo",
    size: Annotated[
        list[int] | None, typer.Option(help="Number of cells along each coupled lattice vector; repeat for several sizes to obtain T_C.")
    ] = None,
    measurements: Annotated[int | None, typer.Option(help="Number of measurements for each temperature and size.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", help="TOML settings file; options override it.")] = None,
    field: Annotated[tuple[float, float, float] | None, typer.Option(help="Magnetic field in T.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of temperatures simulated in parallel.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Figure of the curves, for example curves.png.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Figure of the spins at the lowest temperature, for example spins.png.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Simulate magnetisation, susceptibility, specific heat and Binder cumulant against temperature; T_C from cumulant crossings."""
    from dataclasses import asdict

    import numpy as np

    from nucleate.report.figure_file import check_figure
    from nucleate.report.spins import plot_curves, plot_spins, simulation_data, temperature_table
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins import api
    from nucleate.spins.files.reading import read_couplings

    kelvin = _temperatures(temperatures, temperature_range)
    for path in (plot, picture):
        if path is not None:
            check_figure(path)
            _check_folder(path)
    known = read_couplings(couplings)
    print_notes(known)
    estimate = api.estimate(known)
    console = make_console()
    try:
        with Bar(console, quiet or as_json) as bar:
            result = api.simulate(
                known, out, settings=settings, threads=threads, progress=bar, temperatures=kelvin, method=method, sizes=size,
                measurements=measurements, field=field, seed=seed,
            )  # fmt: skip
    except KeyboardInterrupt:
        hint = "repeat the command to resume" if out is not None else "give --out to be able to resume"
        typer.echo(f"stopped; {hint}", err=True)
        raise typer.Exit(130) from None
    if plot is not None:
        plot_curves(result.rows, plot, result.crossings)
    if picture is not None:
        plot_spins(result.lattice, result.coldest, picture)
    if as_json:
        print_json({**simulation_data(result.rows, result.crossings, asdict(estimate)), "lost": result.lost, "notes": known.notes})
        return
    console.print(temperature_table(result.rows))
    _print_estimate(estimate, console)
    for c in result.crossings:
        above = int(np.searchsorted(kelvin, c.temperature).clip(1, max(len(kelvin) - 1, 1)))
        spacing = kelvin[above] - kelvin[above - 1] if len(kelvin) > 1 else 0.0
        if spacing > COARSE * c.temperature:
            console.print(
                f"the temperatures are {spacing:.3g} K apart, which is too coarse for T_C; repeat the simulation close to the crossing",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip
        console.print(
            f"T_C from sizes {c.small} and {c.large}: {c.temperature:.2f} ± {c.error:.2f} K (cumulant {c.cumulant:.4f})", highlight=False
        )
    for text in result.lost:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _temperatures(text: str | None, lowest_highest_count: tuple[float, float, int] | None) -> list[float]:
    """Return increasing temperatures in K from --temperatures, or from the deprecated --temperature-range."""
    import numpy as np

    if (text is None) == (lowest_highest_count is None):
        raise BadInput("give --temperatures, such as --temperatures 210:300:15")
    if text is not None:
        return sorted(set(read_temperatures(text)))
    assert lowest_highest_count is not None
    lowest, highest, count = lowest_highest_count
    if count < 1 or not 0 < lowest <= highest < float("inf") or (count == 1) != (lowest == highest):
        raise BadInput(f"--temperature-range {lowest:g} {highest:g} {count}: give increasing temperatures above 0 K and their number")
    step = (highest - lowest) / max(count - 1, 1)
    typer.echo(f"--temperature-range is deprecated; give --temperatures {lowest:g}:{highest:g}:{step:g}", err=True)
    return [float(f"{t:.9g}") for t in np.linspace(lowest, highest, count)]


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise BadInput(f"{path}: the folder does not exist; create it first")
