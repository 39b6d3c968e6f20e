"""Commands under `nucleate spins`: lattice, show, convert, simulate; `couple` and the pair models are in their own modules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Quiet, print_json
from nucleate.cli.couple import couple, given_moments, tell
from nucleate.cli.pair_models import register_models
from nucleate.errors import BadInput, NucleateError

CouplingsFile = Annotated[Path, typer.Argument(help="Couplings file: a .csv table, TB2J's exchange.out, or a Spirit .cfg.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verbs = typer.Typer(no_args_is_help=True, help="Compute, learn and convert exchange couplings; simulate spins.")
    for function in (couple, lattice, show, convert, simulate):
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
    from nucleate.crystals.io import read_structure
    from nucleate.persist.files import write_whole
    from nucleate.report.spins import shell_table
    from nucleate.report.terminal import make_console
    from nucleate.spins.files.table import table_text
    from nucleate.spins.shells import on_shells

    _check_folder(out)
    if out.suffix != ".csv":
        raise BadInput(f"{out}: couplings are written as .csv; convert the table afterwards with `nucleate spins convert`")
    moments = given_moments(moment)
    found = on_shells(read_structure(structure), moments, shell)
    write_whole(out, table_text(found))
    make_console().print(shell_table(found))


def show(couplings: CouplingsFile, as_json: AsJson = False) -> None:
    """Show the coupling shells, the magnetic order and estimates of the transition temperature."""
    from nucleate.report.spins import shell_table, shells
    from nucleate.report.terminal import make_console
    from nucleate.spins.files.reading import read_couplings

    found = read_couplings(couplings)
    tell(found)
    estimates = _estimates(found)
    if as_json:
        print_json({"shells": shells(found), "estimates": estimates, "notes": found.notes})
        return
    console = make_console()
    console.print(shell_table(found))
    _say(estimates, console)


def _estimates(found: Any) -> dict[str, Any]:
    from nucleate.spins.order.curie import leading_order, rpa

    order = leading_order(found)
    estimates: dict[str, Any] = {
        "wave_vector": order.wave_vector.tolist(),
        "sublattices": _signs(order.weights),
        "mean_field": order.mean_field,
        "rpa": None,
        "rpa_failure": None,
    }
    try:
        estimates["rpa"] = rpa(found, order)
    except NucleateError as failure:
        estimates["rpa_failure"] = str(failure)
    return estimates


def _signs(weights: Any) -> list[int] | None:
    """Return the signs of the sublattices if they define the order, otherwise None."""
    import numpy as np

    plain = weights.ndim == 1 and np.abs(weights.imag).max() < 1e-6 and np.abs(weights.real).min() > 1e-6
    return [int(sign) for sign in np.sign(weights.real)] if plain else None


def _say(estimates: dict[str, Any], console: Any) -> None:
    q = ", ".join(f"{x:.3f}" for x in estimates["wave_vector"])
    rpa = f"{estimates['rpa']:.1f} K" if estimates["rpa"] is not None else f"none ({estimates['rpa_failure']})"
    signs = estimates["sublattices"]
    if signs is not None and len(signs) > 1:
        q += "; sites " + " ".join("+" if sign > 0 else "-" for sign in signs)
    console.print(
        f"order at q = ({q}); mean field: {estimates['mean_field']:.1f} K, RPA: {rpa}", highlight=False, markup=False, soft_wrap=True
    )


def convert(
    couplings: CouplingsFile,
    out: Annotated[Path, typer.Argument(help="Output file; the suffix selects the format: .csv, .out (TB2J) or .cfg (Spirit).")],
    cells: Annotated[tuple[int, int, int], typer.Option(help="Number of cells along each lattice vector (Spirit).")] = (10, 10, 10),
) -> None:
    """Convert couplings between file formats."""
    import numpy as np

    from nucleate.persist.files import write_whole
    from nucleate.spins.files.reading import read_couplings
    from nucleate.spins.files.spirit import spirit_text
    from nucleate.spins.files.table import table_text
    from nucleate.spins.files.tb2j import tb2j_text

    writers = {".csv": table_text, ".out": tb2j_text, ".cfg": lambda c: spirit_text(c, cells)}
    _check_folder(out)
    if min(cells) < 1:
        raise BadInput(f"--cells {cells[0]} {cells[1]} {cells[2]}: give at least one cell along each lattice vector")
    if out.suffix not in writers:
        raise BadInput(f"{out}: unknown file format; use .csv (table), .out (TB2J) or .cfg (Spirit)")
    found = read_couplings(couplings)
    tell(found)
    write_whole(out, writers[out.suffix](found))
    lost = [] if out.suffix == ".csv" or not np.isfinite(found.errors).any() else ["error bars"]
    if out.suffix == ".cfg":
        lost.append("elements")
    if out.suffix == ".out" and len(found.tensors) and np.abs(found.tensors).max() < 0.02:
        lost.append("all digits (the format has four decimals of a meV)")
    if lost:
        typer.echo(f"{out}: the format cannot store {', '.join(lost)}", err=True)


def simulate(
    couplings: CouplingsFile,
    temperature_range: Annotated[
        tuple[float, float, int], typer.Option(help="Lowest and highest temperature in K, and number of temperatures.")
    ],
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
    import numpy as np

    from nucleate.persist.toml import read_settings, validated
    from nucleate.report.electrons import check_figure
    from nucleate.report.spins import plot_curves, plot_spins, simulation_data, temperature_table
    from nucleate.report.terminal import Bar, make_console
    from nucleate.spins.files.reading import read_couplings
    from nucleate.spins.order.binder import crossing
    from nucleate.spins.simulate.settings import SimulationSettings
    from nucleate.spins.simulate.simulation import simulate as run

    lowest, highest, count = temperature_range
    if count < 1 or not 0 < lowest <= highest < float("inf") or (count == 1) != (lowest == highest):
        raise BadInput(f"--temperature-range {lowest:g} {highest:g} {count}: give increasing temperatures above 0 K and their number")
    given = read_settings(settings) if settings else {}
    options = {
        "temperatures": [float(f"{t:.9g}") for t in np.linspace(lowest, highest, count)], "method": method, "sizes": size,
        "measurements": measurements, "field": field, "seed": seed,
    }  # fmt: skip
    resolved = validated(SimulationSettings, {**given, **{k: v for k, v in options.items() if v is not None}}, "options")
    for path in (plot, picture):
        if path is not None:
            check_figure(path)
            _check_folder(path)
    found = read_couplings(couplings)
    tell(found)
    estimates = _estimates(found)
    console = make_console()
    with Bar(console, quiet or as_json) as bar:

        def progress(kind: str, facts: dict[str, Any]) -> None:
            if kind == "note":
                typer.echo(facts["text"], err=True)
            else:
                bar(f"{facts['size']} cells", facts["done"], facts["total"])

        try:
            ended = run(found, resolved, out, threads, progress)
        except KeyboardInterrupt:
            hint = "repeat the command to resume" if out is not None else "give --out to be able to resume"
            typer.echo(f"stopped; {hint}", err=True)
            raise typer.Exit(130) from None
    crossings, lost = [], []
    for small, large in zip(resolved.sizes, resolved.sizes[1:], strict=False):
        try:
            crossings.append(crossing(ended.rows, small, large))
        except NucleateError as failure:
            lost.append(str(failure))
    if plot is not None:
        plot_curves(ended.rows, plot, crossings)
    if picture is not None:
        plot_spins(ended.lattice, ended.coldest, picture)
    if as_json:
        print_json({**simulation_data(ended.rows, crossings, estimates), "lost": lost, "notes": found.notes})
        return
    console.print(temperature_table(ended.rows))
    _say(estimates, console)
    for c in crossings:
        console.print(
            f"T_C from sizes {c.small} and {c.large}: {c.temperature:.2f} ± {c.error:.2f} K (cumulant {c.cumulant:.4f})", highlight=False
        )
    for text in lost:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise BadInput(f"{path}: the folder does not exist; create it first")
