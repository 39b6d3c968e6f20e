"""Commands under `nucleate lattice`: enumerate, compute, collect, fit, hull, simulate, coexistence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import (
    AsJson,
    Blocks,
    Quiet,
    SettingsFile,
    SharedLedgerAddress,
    Workers,
    complain,
    interruptible,
    print_json,
    read_temperatures,
    stages_and_bar,
)
from nucleate.errors import BadInput, quoted

Sites = Annotated[list[str], typer.Option(help="Species of the sites of an element, such as Li=Li,X; X is a vacancy. May be repeated.")]
Cells = Annotated[str, typer.Option(help="Number of primitive cells along each vector, such as 24x24 (layers) or 12x12x12.")]
Temperatures = Annotated[str, typer.Option(help="Temperatures in K: 300,400,500 or START:STOP:STEP; they are visited in this order.")]
Plot = Annotated[Path | None, typer.Option(help="Figure, for example hull.png.")]
Seed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of random numbers.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Cluster expansion, written by: nucleate lattice fit.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verbs = typer.Typer(no_args_is_help=True, help="Atoms on the sites of a lattice: enumerate, fit a cluster expansion, find phases.")
    verbs.command("enumerate")(enumerate_arrangements)
    for function in (compute, collect, fit, hull, simulate, coexistence):
        verbs.command()(function)
    app.add_typer(verbs, name="lattice")


def enumerate_arrangements(
    structure: Annotated[Path, typer.Argument(help="Primitive cell with all sites filled: a crystal, or a layer with pbc T T F.")],
    sites: Sites,
    max_cells: Annotated[int, typer.Option(help="Largest number of primitive cells of an arrangement.")],
    min_cells: Annotated[int, typer.Option(help="Smallest number of primitive cells.")] = 1,
    mesh: Annotated[
        str | None,
        typer.Option(help="k-point mesh of the primitive cell, such as 12x12x1; supercells to which it does not fold are left out."),
    ] = None,
    out: Annotated[Path, typer.Option(help="File of the arrangements.")] = Path("arrangements.json"),
    structures: Annotated[Path | None, typer.Option(help="The arrangements as structures as well (.extxyz).")] = None,
    as_json: AsJson = False,
) -> None:
    """Enumerate the distinct arrangements of atoms on the sites of a structure."""
    from nucleate.lattice import api
    from nucleate.lattice.labels import write_data
    from nucleate.report.lattice import enumerated_data, enumerated_lines

    _check_folder(out, structures)
    if structures is not None and structures.suffix != ".extxyz":
        raise BadInput(f"{structures}: structures are written as .extxyz")
    data = api.enumerate_lattice(
        structure, sites, max_cells, min_cells=min_cells, mesh=None if mesh is None else _numbers(mesh, "--mesh", "12x12x1")
    )
    write_data(out, data)
    if structures is not None:
        import ase.io

        ase.io.write(structures, [entry.arrangement.supercell.atoms(entry.arrangement.occupation) for entry in data.labelled])
    if as_json:
        print_json(enumerated_data(data))
    else:
        _print([*enumerated_lines(data), f"written to {out}"])


def compute(
    file: Annotated[Path, typer.Argument(metavar="ARRANGEMENTS", help="File of nucleate lattice enumerate.")],
    out: Annotated[Path, typer.Option(help="Folder of the ledger and of labels.json; the same command resumes.")],
    settings: SettingsFile = None,
    workers: Workers = None,
    executor: Blocks = None,
    ledger: SharedLedgerAddress = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Calculate the energies of arrangements on the reference; the tables reference and lattice of a settings file say how."""
    from nucleate.lattice import api
    from nucleate.lattice.compute import ArrangementDone
    from nucleate.progress import Event
    from nucleate.report.lattice import enumerated_data

    with interruptible("stopped; the same command resumes, and no calculation is repeated"), stages_and_bar(as_json, quiet) as show:

        def tell(event: Event, /) -> None:
            show(event)
            if isinstance(event, ArrangementDone) and not quiet:
                energy = "failed" if event.energy is None else f"{event.energy:.6f} eV per cell"
                complain(f"{event.done} of {event.total}: {energy}")

        data = api.compute(file, settings, out=out, workers=workers, executor=executor, ledger=ledger, progress=tell)
    if as_json:
        print_json(enumerated_data(data))
        return
    failed = [entry for entry in data.labelled if entry.energy is None]
    _print([f"{len(data.with_energies)} of {len(data.labelled)} arrangements have energies; written to {out / api.LABELS}"])
    if failed:
        _print([f"failed, for example: {failed[0].failure}"])


def collect(
    structure: Annotated[Path, typer.Argument(help="Primitive cell of the parent with all sites filled.")],
    source: Annotated[Path, typer.Argument(help="Folder of a search, or structures with energies (extended XYZ, ASE database).")],
    sites: Sites,
    out: Annotated[Path, typer.Option(help="File of the arrangements with their energies.")] = Path("labels.json"),
    as_json: AsJson = False,
) -> None:
    """Assign structures with energies, such as those of a search, to the sites of a lattice."""
    from nucleate.lattice import api
    from nucleate.lattice.labels import write_data
    from nucleate.report.lattice import enumerated_data, enumerated_lines

    _check_folder(out)
    data, left = api.collect(structure, sites, source)
    write_data(out, data)
    if as_json:
        print_json(enumerated_data(data))
        return
    _print(enumerated_lines(data))
    if left:
        _print([f"{len(left)} structures were left out; {left[0]}"])
    _print([f"written to {out}"])


def fit(
    file: Annotated[Path, typer.Argument(metavar="LABELS", help="Arrangements with energies: labels.json of compute or collect.")],
    cutoffs: Annotated[str, typer.Option(help="Largest distance of two points of pairs, triplets, ... in Å, such as 5.0,4.3.")],
    dipoles: Annotated[bool, typer.Option("--dipoles", help="Fit the repulsion of parallel dipoles of distant sites (layers).")] = False,
    beyond: Annotated[float | None, typer.Option(help="Distance in Å where the dipole term begins; default: the cutoff of pairs.")] = None,
    per_atom: Annotated[
        bool, typer.Option("--per-atom", help="Fit energies per atom of the first species, relative to the empty lattice.")
    ] = False,
    method: Annotated[str, typer.Option(help="least-squares, ridge or ard.")] = "least-squares",
    folds: Annotated[int, typer.Option(help="Number of folds of nested cross-validation.")] = 10,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="File of the cluster expansion.")] = Path("expansion.json"),
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Fit the interactions of a cluster expansion, with errors by leave-one-out and nested cross-validation."""
    from nucleate.lattice import api
    from nucleate.lattice.expansion import write_expansion
    from nucleate.report.lattice import fit_data, fit_lines, plot_fit

    _check_folder(out)
    _check_plot(plot)
    model = api.fit(
        file, _floats(cutoffs, "--cutoffs"), method=method, dipoles=dipoles, beyond=beyond, per_atom=per_atom, folds=folds, seed=seed
    )
    write_expansion(out, model)
    if plot is not None:
        plot_fit(model, plot)
    if as_json:
        print_json(fit_data(model))
    else:
        _print([*fit_lines(model), f"written to {out}"])


def hull(
    file: ModelFile,
    max_cells: Annotated[int, typer.Option(help="Largest number of primitive cells of an arrangement.")] = 8,
    labels: Annotated[Path | None, typer.Option(help="labels.json, whose energies are drawn as well.")] = None,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Find the ground states of a cluster expansion among all arrangements up to a number of cells."""
    from nucleate.lattice import api
    from nucleate.lattice.labels import read_data
    from nucleate.report.lattice import hull_data, hull_lines, plot_hull

    _check_plot(plot)
    known = None if labels is None else read_data(labels)
    found = api.hull(file, max_cells)
    if plot is not None:
        plot_hull(found, plot, known)
    if as_json:
        print_json(hull_data(found))
    else:
        _print(hull_lines(found))


def simulate(
    file: ModelFile,
    cells: Cells,
    temperatures: Temperatures,
    composition: Annotated[
        list[str] | None, typer.Option(help="Share of a species on its sites, such as Li=0.1, at fixed composition. May be repeated.")
    ] = None,
    potential: Annotated[
        list[str] | None, typer.Option(help="Chemical potential of a species in eV, such as Li=-0.2, at fixed potentials.")
    ] = None,
    sweeps: Annotated[int, typer.Option(help="Number of sweeps that are averaged.")] = 5000,
    burn: Annotated[int, typer.Option(help="Number of sweeps before them.")] = 1000,
    seed: Seed = 0,
    record: Annotated[Path | None, typer.Option(help="File of finished temperatures, from which the same command resumes.")] = None,
    structure: Annotated[Path | None, typer.Option(help="Last arrangement (.extxyz).")] = None,
    plot: Plot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Simulate atoms on a lattice by Monte Carlo at a row of temperatures."""
    from dataclasses import asdict

    from nucleate.lattice import api
    from nucleate.lattice.expansion import read_expansion
    from nucleate.lattice.supercells import Supercell
    from nucleate.report.lattice import plot_simulated, simulated_lines

    _check_folder(record, structure)
    _check_plot(plot)
    if structure is not None and structure.suffix != ".extxyz":
        raise BadInput(f"{structure}: the arrangement is written as .extxyz")
    model = read_expansion(file)
    size = _numbers(cells, "--cells", "24x24")
    farewell = "stopped; the same command goes on from --record" if record else "stopped; with --record it could be resumed"
    with interruptible(farewell), stages_and_bar(as_json, quiet) as show:
        rows, last = api.simulate(
            model, size, read_temperatures(temperatures), composition=_shares(composition, "--composition"),
            potentials=_shares(potential, "--potential"), sweeps=sweeps, burn=burn, seed=seed, record=record, progress=show,
        )  # fmt: skip
    import numpy as np

    supercell = Supercell(model.parent, np.diag(size))
    if structure is not None:
        import ase.io

        ase.io.write(structure, supercell.atoms(last))
    if plot is not None:
        plot_simulated(rows, supercell, last, plot)
    if as_json:
        print_json({"cells": list(size), "averages": [asdict(row) for row in rows]})
    else:
        _print(simulated_lines(rows, model.parent))


def coexistence(
    file: ModelFile,
    cells: Cells,
    temperatures: Temperatures,
    share: Annotated[float, typer.Option(help="Share of the sites that the first species fills in the ordered phase.")] = 1.0,
    max_cells: Annotated[int, typer.Option(help="Largest number of primitive cells of the ordered arrangement.")] = 6,
    sweeps: Annotated[int, typer.Option(help="Number of sweeps at each chemical potential.")] = 2000,
    seed: Seed = 0,
    plot: Plot = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find where a dilute and an ordered phase coexist, by equal grand potentials from thermodynamic integration."""
    from nucleate.lattice import api
    from nucleate.lattice.expansion import read_expansion
    from nucleate.report.lattice import coexistence_data, coexistence_lines, plot_coexistence

    _check_plot(plot)
    model = read_expansion(file)
    with interruptible("stopped"), stages_and_bar(as_json, quiet) as show:
        results = api.coexist(
            model, _numbers(cells, "--cells", "24x24"), read_temperatures(temperatures), share=share, max_cells=max_cells, sweeps=sweeps,
            seed=seed, progress=show,
        )  # fmt: skip
    if plot is not None:
        plot_coexistence(results, model.parent, plot)
    if as_json:
        print_json(coexistence_data(results))
    else:
        _print(coexistence_lines(results, model.parent))


def _print(lines: list[str]) -> None:
    from nucleate.report.terminal import make_console

    console = make_console()
    for text in lines:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def _check_folder(*paths: Path | None) -> None:
    for path in paths:
        if path is not None and not path.parent.is_dir():
            raise BadInput(f"{path}: the folder does not exist; create it first")


def _check_plot(plot: Path | None) -> None:
    if plot is not None:
        from nucleate.report.figure_file import check_figure

        _check_folder(plot)
        check_figure(plot)


def _numbers(text: str, option: str, example: str) -> tuple[int, int, int]:
    """Read '24x24' or '12x12x12'; a missing third number is 1."""
    try:
        values = [int(part) for part in text.lower().split("x")]
    except ValueError:
        values = []
    if len(values) == 2:
        values.append(1)
    if len(values) != 3 or any(not 1 <= n <= 10_000 for n in values):
        raise BadInput(f"{option} {quoted(text, 40)}: give two or three positive numbers, such as {example}")
    return values[0], values[1], values[2]


def _floats(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise BadInput(f"{option} {quoted(text, 40)}: give numbers separated by commas") from None


def _shares(entries: list[str] | None, option: str) -> dict[str, float] | None:
    """Read entries such as Li=0.1."""
    if not entries:
        return None
    result: dict[str, Any] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        try:
            number = float(value)
        except ValueError:
            equals = ""
        if not equals or not name or name in result or not abs(number) < 1e6:
            raise BadInput(f"{option} {quoted(entry, 40)}: write SPECIES=NUMBER, such as Li=0.1, once for each species")
        result[name] = number
    return result
