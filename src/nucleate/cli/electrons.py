"""Commands under `nucleate electrons`: sample, import, train, evaluate, predict, fit-start, start."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Quiet, interruptible, print_json
from nucleate.errors import BadInput, quoted
from nucleate.pretrained import NAMES

Data = Annotated[list[Path], typer.Argument(help="Folders with sampled snapshots.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    verbs = typer.Typer(
        no_args_is_help=True,
        help="Learn the local density of states: sample, train, predict; start DFT calculations from a predicted density.",
    )
    for function in (sample, train, evaluate, predict, start):
        verbs.command()(function)
    verbs.command("import")(import_snapshot)
    verbs.command("fit-start")(fit_start)
    app.add_typer(verbs, name="electrons")


def sample(
    out: Annotated[Path, typer.Option(help="Folder for the snapshots; repeating the command resumes an interrupted run.")],
    material: Annotated[str | None, typer.Option(help="Element (its crystal is built) or structure file.")] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file with the tables dynamics and ground_state; options override it.")] = None,
    atoms: Annotated[int | None, typer.Option(help="Number of atoms in the simulation cell.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Temperature in K of the ions, and of the electrons unless given separately.")
    ] = None,
    electronic_temperature: Annotated[float | None, typer.Option(help="Electronic temperature in K.")] = None,
    phase: Annotated[str | None, typer.Option(help="Phase: solid or liquid.")] = None,
    volume: Annotated[float | None, typer.Option(help="Volume per atom in Å³; default: that of the crystal.")] = None,
    snapshots: Annotated[int | None, typer.Option(help="Number of snapshots.")] = None,
    potential: Annotated[str | None, typer.Option(help=f"Potential for the dynamics: emt, {NAMES}, mace:FILE, or a model file.")] = None,
    cutoff: Annotated[float | None, typer.Option(help="Plane-wave cutoff in eV.")] = None,
    k_spacing: Annotated[float | None, typer.Option(help="k-point spacing in 1/Å.")] = None,
    low: Annotated[float | None, typer.Option(help="Lowest energy of the LDOS grid in eV.")] = None,
    high: Annotated[float | None, typer.Option(help="Highest energy of the LDOS grid in eV.")] = None,
    magnetic_moment: Annotated[
        list[str] | None,
        typer.Option(help="Starting magnetic moment of an element in Bohr magnetons, for example Fe=2.3; repeat for each element."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of the dynamics.")] = None,
    convergence: Annotated[
        bool, typer.Option("--convergence/--no-convergence", help="Whether to measure the convergence on the first snapshot.")
    ] = True,
    workers: Annotated[int, typer.Option(min=1, help="Number of calculations run in parallel.")] = 1,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Sample snapshots of molecular dynamics and compute their local density of states with GPAW."""
    from nucleate.electrons import api
    from nucleate.electrons.data.convergence import read_convergence
    from nucleate.electrons.events import SnapshotDone, SnapshotFailed
    from nucleate.progress import Event
    from nucleate.report.terminal import Bar, make_console

    console = make_console()
    with Bar(console, quiet or as_json) as bar:

        def show_event(event: Event, /) -> None:
            bar(event)
            if isinstance(event, SnapshotFailed):
                typer.echo(f"snapshot {event.number} failed and is skipped: {quoted(event.reason, 200)}", err=True)
            elif isinstance(event, SnapshotDone) and not quiet and not as_json:
                spent = f"{event.details['iterations']} iterations, {event.details['cpu_seconds']:.0f} CPU-s"
                console.print(f"snapshot {event.number}: {spent}", highlight=False)

        paths = api.sample(
            out, settings=settings, workers=workers, progress=show_event, material=material, atoms=atoms, temperature=temperature,
            electronic_temperature=electronic_temperature, phase=phase, volume=volume, snapshots=snapshots, potential=potential,
            cutoff=cutoff, k_spacing=k_spacing, low=low, high=high, seed=seed, convergence=convergence,
            magnetic_moments=_by_element("--magnetic-moment", magnetic_moment, "its starting moment, for example Fe=2.3"),
        )  # fmt: skip
    measured = read_convergence(out)
    if as_json:
        shifts = None if measured is None else {name: shift.model_dump() for name, shift in measured.items()}
        print_json({"folder": str(out), "snapshots": [str(path) for path in paths], "convergence": shifts})
    else:
        for name, shift in (measured or {}).items():
            changes = f"{shift.free:+.1f} meV/atom, forces {shift.forces:.0f} meV/Å, pressure {shift.pressure:+.2f} GPa"
            console.print(f"with {'more k-points' if name == 'k_points' else 'a higher cutoff'}: free energy {changes}", highlight=False)
        console.print(f"{len(paths)} snapshots in {out}", highlight=False, markup=False, soft_wrap=True)


def _by_element(option: str, texts: list[str] | None, what: str) -> dict[str, float] | None:
    """Return the numbers of texts like Fe=2.3 by their elements; None without texts."""
    found: dict[str, float] = {}
    for text in texts or []:
        symbol, _, number = text.partition("=")
        if symbol in found:
            raise BadInput(f"{option}: {quoted(symbol, 40)} is given twice; give each element once")
        try:
            found[symbol] = float(number)
        except ValueError:
            raise BadInput(f"{option} {quoted(text, 40)}: give an element and {what}") from None
    return found or None


def import_snapshot(
    ldos: Annotated[Path, typer.Argument(help="LDOS array of MALA (NumPy file) of shape (n_1, n_2, n_3, n_energies).")],
    structure: Annotated[Path, typer.Argument(help="Structure file, for example the pw.x output.")],
    out: Annotated[Path, typer.Option(help="Data folder; the snapshot is added to it.")],
    low: Annotated[float, typer.Option(help="Lowest energy of the LDOS grid in eV.")],
    spacing: Annotated[float, typer.Option(help="Spacing of the LDOS energies in eV.")],
    charge: Annotated[
        list[str], typer.Option(help="Number of valence electrons of an element, for example Be=2; repeat for each element.")
    ],
    sigma: Annotated[float | None, typer.Option(help="Width of the Gaussians in eV; default: the energy spacing.")] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Electronic temperature in K; default: the value stored with the structure.")
    ] = None,
    units: Annotated[str, typer.Option(help="Units of the LDOS: 1/(eV*A^3), 1/(eV*Bohr^3) or 1/(Ry*Bohr^3).")] = "1/(eV*A^3)",
) -> None:
    """Import a snapshot in MALA's format."""
    from nucleate.electrons import api

    charges = _by_element("--charge", charge, "its number of valence electrons, for example Be=2") or {}
    path, snapshot = api.import_mala(
        ldos, structure, out, low=low, spacing=spacing, charges=charges, sigma=sigma, temperature=temperature, units=units
    )
    if "note" in snapshot.details:
        typer.echo(f"note: {snapshot.details['note']}", err=True)
    typer.echo(f"{path}: {snapshot.atoms.get_chemical_formula()}, grid {' x '.join(map(str, snapshot.ldos.shape[:3]))}")


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
    settings: Annotated[Path | None, typer.Option(help="TOML settings file; see docs/electrons.md.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of optimiser steps.")] = None,
    points: Annotated[int | None, typer.Option(min=10, help="Number of grid points sampled from each snapshot.")] = None,
    members: Annotated[int | None, typer.Option(min=1, help="Number of committee members.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Random seed for weights, grid points and committee subsets.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a model of the local density of states."""
    from nucleate.electrons import api
    from nucleate.report.terminal import Bar, make_console

    console = make_console()
    with Bar(console, quiet or as_json) as bar:
        model, errors = api.train(data, out, settings=settings, progress=bar, steps=steps, points=points, members=members, seed=seed)
    if as_json:
        print_json({"model": str(out / "model.safetensors"), "errors": model.facts["errors"]})
        return
    for each in errors:
        _print_errors(console, each)
    if not errors:
        console.print("no validation snapshots were available, so the model's error is unknown; sample more snapshots", highlight=False)
    console.print(f"model: {out / 'model.safetensors'}", highlight=False, markup=False, soft_wrap=True)


def _print_errors(console: Any, errors: Any) -> None:
    console.print(
        f"{errors.name}: density {errors.density:.2f} %, density of states {errors.dos:.2f} %, band energy {errors.band:+.1f} meV/atom"
        + (f", free energy {errors.free:+.1f} meV/atom" if math.isfinite(errors.free) else "")
        + (f", band gap {errors.gap:+.3f} eV" if math.isfinite(errors.gap) else "")
        + (f", moment {errors.moment:+.3f} Bohr magnetons an atom" if math.isfinite(errors.moment) else "")
        + (f", forces {errors.forces:.0f} meV/Å" if math.isfinite(errors.forces) else "")
        + (f", pressure {errors.pressure:+.2f} GPa" if math.isfinite(errors.pressure) else ""),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file or its folder.")],
    data: Data,
    forces: Annotated[bool, typer.Option("--forces", help="Compare forces and pressure as well, at about four times the cost.")] = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate the errors of a model on sampled snapshots."""
    from nucleate.electrons import api
    from nucleate.progress import Event
    from nucleate.report.terminal import make_console

    console = make_console()

    def show_event(event: Event, /) -> None:
        if isinstance(event, api.SnapshotEvaluated) and not as_json:
            _print_errors(console, event.errors)

    errors = api.evaluate(model, data, forces=forces, progress=show_event)
    if as_json:
        print_json({"snapshots": [each.as_dict() for each in errors]})


def predict(
    model: Annotated[Path, typer.Argument(help="Model file or its folder.")],
    structure: Annotated[Path, typer.Argument(help="Structure file.")],
    temperature: Annotated[float | None, typer.Option(help="Electronic temperature in K; default: that of the training data.")] = None,
    spacing: Annotated[float | None, typer.Option(help="Grid spacing in Å; default: that of the training data.")] = None,
    forces: Annotated[bool, typer.Option("--forces", help="Compute forces and stress as well.")] = False,
    overlap: Annotated[
        bool, typer.Option("--gpaw-overlap", help="Include the overlap energy of GPAW's Gaussian ions, for comparison with GPAW.")
    ] = False,
    cube: Annotated[Path | None, typer.Option(help="Cube file for the electron density.")] = None,
    spin_cube: Annotated[Path | None, typer.Option(help="Cube file for the spin density, up minus down.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of the density of states (PNG, SVG or PDF).")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of worker processes that share the grid; 0: run in this process.")] = 0,
    scratch: Annotated[Path | None, typer.Option(help="Folder for finished slabs, from which an interrupted prediction resumes.")] = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Predict the density of states, electron density and free energy of a structure, and its forces and stress."""
    from nucleate.crystals.io import read_structure
    from nucleate.electrons import api
    from nucleate.electrons.model.model import electron_model_facts
    from nucleate.report.electrons import electrons_data, electrons_lines, plot_dos, write_cube_file
    from nucleate.report.figure_file import check_figure
    from nucleate.report.terminal import Bar, make_console

    atoms = read_structure(structure)
    for file in (cube, spin_cube, plot):
        if file is not None and not file.absolute().parent.is_dir():
            raise BadInput(f"{file}: the folder does not exist; create it first")
    if plot is not None:
        check_figure(plot)
    if spin_cube is not None and not electron_model_facts(model)["spin"]:
        raise BadInput(f"--spin-cube: {model} was trained on spin-paired data; sample with --magnetic-moment and train again")
    console = make_console()
    farewell = "repeat the command to resume from the saved slabs" if scratch else "give --scratch DIR to be able to resume"
    with interruptible(f"stopped; {farewell}"), Bar(console, quiet or as_json) as bar:
        electrons = api.predict(
            model, atoms, temperature=temperature, spacing=spacing, forces=forces, overlap=overlap, workers=workers, scratch=scratch,
            progress=bar,
        )  # fmt: skip
    if cube is not None:
        write_cube_file(cube, atoms, electrons.density.numpy())
    if spin_cube is not None and electrons.spin_density is not None:
        write_cube_file(spin_cube, atoms, electrons.spin_density.numpy())
    if plot is not None:
        plot_dos(plot, electrons, atoms)
    if as_json:
        print_json(electrons_data(electrons, atoms))
        return
    for line in electrons_lines(electrons, atoms):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def fit_start(
    data: Data,
    out: Annotated[Path, typer.Option(help="Output folder of the emulator.")],
    settings: Annotated[Path | None, typer.Option(help="TOML settings file with cutoff, radial, degree, local, ridge.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the density emulator, which provides starting densities for self-consistent calculations."""
    from nucleate.electrons import api
    from nucleate.report.terminal import Bar, make_console

    console = make_console()
    with Bar(console, as_json) as bar:
        emulator = api.fit_start(data, out, settings=settings, progress=bar)
    if as_json:
        print_json(emulator.facts)
        return
    left, atoms = (sum(emulator.facts[key]) / len(emulator.facts[key]) for key in ("left_out_error", "atoms_error"))
    console.print(
        f"density error (Coulomb norm): {left:.2e} eV/atom on held-out snapshots, {atoms:.2e} for superposed atoms\n"
        f"emulator: {out / 'emulator.safetensors'}",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def start(
    emulator: Annotated[Path, typer.Argument(help="Emulator file or its folder.")],
    structure: Annotated[Path, typer.Argument(help="Structure file.")],
    k_spacing: Annotated[float, typer.Option(help="k-point spacing in 1/Å.")] = 0.2,
    temperature: Annotated[float, typer.Option(help="Electronic temperature in K.")] = 500.0,
    fixed_steps: Annotated[
        int,
        typer.Option(min=0, help="Number of eigensolver steps at fixed density before the density is updated; benchmarks show no gain."),
    ] = 0,
    cube: Annotated[Path | None, typer.Option(help="Write the starting density to this cube file without running GPAW.")] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Run the calculation from superposed atomic densities as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a self-consistent GPAW calculation from the density that the emulator predicts."""
    # Set before NumPy is imported: GPAW is ten times slower with oversubscribed threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from nucleate.crystals.io import read_structure
    from nucleate.electrons import api
    from nucleate.report.electrons import write_cube_file

    atoms = read_structure(structure)
    if cube is not None:
        if not cube.absolute().parent.is_dir():
            raise BadInput(f"{cube}: the folder does not exist; create it first")
        write_cube_file(cube, atoms, api.start_density(emulator, atoms, k_spacing=k_spacing, temperature=temperature).density)
        typer.echo(f"{cube}: starting density")
        return
    result = api.start(emulator, atoms, k_spacing=k_spacing, temperature=temperature, fixed_steps=fixed_steps, compare=compare)
    runs = {"emulator": result.emulator} if result.atoms is None else {"emulator": result.emulator, "atoms": result.atoms}
    if as_json:
        rows = {n: {"iterations": r.iterations, "cpu_seconds": r.cpu_seconds, "free_energy": r.free_energy} for n, r in runs.items()}
        rows["emulator"] |= {"fixed_steps": fixed_steps, "density_cpu_seconds": result.density_cpu_seconds}
        print_json({"expected_error": result.density.expected_error, "correction": result.density.correction, **rows})
        return
    for name, run in runs.items():
        more = ""
        if name == "emulator":
            more = f" after {fixed_steps} at the fixed density, {result.density_cpu_seconds:.1f} CPU-s for the density"
        typer.echo(f"from {name}: {run.iterations} iterations{more}, {run.cpu_seconds:.1f} CPU-s, free energy {run.free_energy:.6f} eV")
