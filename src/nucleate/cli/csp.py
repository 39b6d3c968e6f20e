"""The verbs of the search: search, resume, show, relax, settings."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from nucleate.cli.common import (
    AsJson,
    Blocks,
    Engine,
    ExecutorFile,
    Preset,
    Pressure,
    Prior,
    Prototypes,
    Quiet,
    SettingsFile,
    SharedLedgerAddress,
    Workers,
    complain,
    drop_output,
    end_workers,
    print_json,
    reader_is_gone,
)
from nucleate.errors import BadInput, quoted
from nucleate.pretrained import NAMES

LISTED = 10
"""Number of polymorphs that are printed at the end of a search, at least."""


def register(app: typer.Typer) -> None:
    """Add the verbs to the program."""
    for function in (search, resume, show, relax, settings):
        app.command()(function)


def search(
    formula: Annotated[
        str | None, typer.Argument(help="Chemical formula of the search cell, such as Si8 or Al4O6, or a chemical system, such as Mg-Si.")
    ] = None,
    settings: SettingsFile = None,
    reference: Engine = None,
    preset: Preset = None,
    pressure: Pressure = None,
    budget: Annotated[int | None, typer.Option(help="Largest number of reference calls, including failed ones.")] = None,
    top: Annotated[int | None, typer.Option(help="Number of lowest polymorphs that must stay unchanged before the search stops.")] = None,
    pool: Annotated[int | None, typer.Option(help="Number of candidates relaxed on the committee in each round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed.")] = None,
    seeds_from: Annotated[Path | None, typer.Option(help="Structure file whose structures are added to the first pool.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Family of the learned potential: manybody, a2a, molcnn, schnet, painn or soap-krr.")
    ] = None,
    prior: Prior = None,
    teacher: Annotated[
        str | None,
        typer.Option(help=f"Pretrained potential that is searched before the reference: {NAMES}, mace:FILE or ase:MODULE:CLASS."),
    ] = None,
    labels_from: Annotated[
        list[Path] | None, typer.Option(help="Run folder or file of labelled structures that the committee also learns from; repeatable.")
    ] = None,
    labels_settings: Annotated[
        Path | None, typer.Option(help="TOML file whose table reference states the settings of the labels in files.")
    ] = None,
    model_from: Annotated[Path | None, typer.Option(help="Model file of a trained committee that the search corrects.")] = None,
    max_atoms: Annotated[int | None, typer.Option(help="Largest number of atoms in a cell, for a chemical system.")] = None,
    reactants: Annotated[
        str | None, typer.Option(help="Compounds between which compositions are searched, separated by commas, such as MgO,Al2O3.")
    ] = None,
    known: Annotated[
        list[Path] | None, typer.Option(help="File of known phases that compete on the hull: CIF, pymatgen JSON, OPTIMADE; repeatable.")
    ] = None,
    elements_from: Annotated[
        list[Path] | None, typer.Option(help="Run folder whose phases enter the hull without further calls; repeatable.")
    ] = None,
    molecule: Annotated[
        list[str] | None,
        typer.Option(help="File of a molecule, or SMILES with RDKit, for a molecular crystal instead of a formula; repeatable."),
    ] = None,
    ratio: Annotated[str | None, typer.Option(help="Number of each molecule in a formula unit, such as 1:2; default: one of each.")] = None,
    units: Annotated[
        str | None,
        typer.Option(help="Number of formula units in the primitive cell, such as 2, or a range such as 1..4, searched one after another."),
    ] = None,
    space_groups: Annotated[
        str | None, typer.Option(help="Frequencies of the space groups of molecular crystals: nature or uniform.")
    ] = None,
    prototypes: Prototypes = None,
    dimensions: Annotated[int | None, typer.Option(help="Number of periodic directions: 3, 2 for layers, or 0 for clusters.")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="New candidates: random, mixed (half of them children of relaxed ones) or evolution (most of them).")
    ] = None,
    goal: Annotated[str | None, typer.Option(help="lowest, or minima: find every minimum within --window.")] = None,
    window: Annotated[float | None, typer.Option(help="Energy above the lowest minimum for --goal minima, meV/atom; default: 50.")] = None,
    fit_xrd: Annotated[
        Path | None, typer.Option("--fit-xrd", help="Powder pattern of the crystal; candidates similar to it are preferred.")
    ] = None,
    wavelength: Annotated[str | None, typer.Option(help="Wavelength of the pattern in Å, or an X-ray line such as CuKa.")] = None,
    neutron: Annotated[bool, typer.Option("--neutron", help="The pattern is measured with neutrons.")] = False,
    deuterated: Annotated[bool, typer.Option("--deuterated", help="Hydrogen atoms scatter neutrons as deuterium.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: named after the formula.")] = None,
    workers: Workers = None,
    executor: ExecutorFile = None,
    ledger: SharedLedgerAddress = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search the crystal structures of a formula or of molecules, or the stable compounds of a chemical system."""
    from nucleate import api

    sizes = units_of(units)

    def run(progress: Any) -> Any:
        options: dict[str, Any] = {
            "settings": settings, "reference": reference, "preset": preset, "pressure": pressure, "budget": budget, "top": top,
            "pool": pool, "seed": seed, "seeds_from": seeds_from, "model": model, "prior": prior, "teacher": teacher,
            "labels_from": labels_from or (), "labels_settings": labels_settings, "model_from": model_from, "max_atoms": max_atoms,
            "reactants": reactants.split(",") if reactants else (), "known": known or (), "elements_from": elements_from or (),
            "molecules": molecule or (), "ratio": ratio_of(ratio), "space_group_weights": space_groups, "dimensions": dimensions,
            "prototypes": prototypes, "strategy": strategy, "goal": goal, "window": window, "fit_xrd": fit_xrd,
            "wavelength": wavelength, "neutron": neutron, "deuterated": deuterated, "workers": workers, "out": out,
            "executor": executor, "ledger": ledger, "progress": progress,
        }  # fmt: skip
        if sizes is None or len(sizes) == 1:
            return api.search(formula, units=None if sizes is None else sizes[0], **options)
        results = api.search_sizes(formula, units=sizes, **options)
        # The polymorphs of each size are in the order of their rank.
        return min(results, key=lambda result: result.polymorphs[0].energy if result.polymorphs else float("inf"))

    _searching(run, quiet, as_json, sizes is not None and len(sizes) > 1)


def units_of(text: str | None) -> list[int] | None:
    """Return the numbers of formula units of text such as `2` or `1..4`.

    Raises:
        BadInput: the text is neither.
    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,3})(?:\.\.([0-9]{1,3}))?", text.strip())
    first, last = (0, 0) if found is None else (int(found[1]), int(found[2] or found[1]))
    if not 1 <= first <= last <= 500:
        raise BadInput(f"--units {quoted(text, 40)}: give a number of formula units such as 2, or a range such as 1..4")
    return list(range(first, last + 1))


def ratio_of(text: str | None) -> list[int] | None:
    """Return the numbers of a ratio such as `1:2`.

    Raises:
        BadInput: the text is not a ratio.
    """
    if text is None:
        return None
    parts = text.split(":")
    if not all(re.fullmatch("[0-9]{1,3}", part) and 0 < int(part) <= 100 for part in parts):
        raise BadInput(f"--ratio {quoted(text, 40)}: give one positive number for each molecule, such as 1:2")
    return [int(part) for part in parts]


def resume(
    folder: Annotated[Path, typer.Argument(help="Run folder.")],
    budget: Annotated[int | None, typer.Option(help="New, larger limit of reference calls.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Accept a run.toml of another user and run the programs that it names; read the file first.")
    ] = False,
    executor: ExecutorFile = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Resume a search that was stopped or killed, or that used up its budget; no calculation is repeated."""
    from nucleate import api

    _searching(lambda progress: api.resume(folder, budget=budget, executor=executor, progress=progress, trust=trust), quiet, as_json)


def _searching(run: Any, quiet: bool, as_json: bool, several: bool = False) -> None:
    from nucleate import api
    from nucleate.csp.events import EngineStarts
    from nucleate.progress import Event
    from nucleate.report.live_search import SearchView
    from nucleate.report.run_text import show_run
    from nucleate.report.terminal import make_console

    view = SearchView(make_console(stderr=as_json), quiet)

    def show_event(event: Event, /) -> None:
        if isinstance(event, EngineStarts):
            complain(f"this run starts: {quoted(event.text, 250)}")
        view(event)

    try:
        with view:
            result = run(show_event)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        # The reader has closed the output, as `head` does: the search is interrupted and its results are kept.
        gone = isinstance(error, BrokenPipeError)
        if view.folder is None or (gone and not reader_is_gone()):
            raise
        end_workers()
        if gone:
            drop_output()
        how = "the same command" if several else f"nucleate resume {quoted(view.folder, 300)}"
        complain(f"stopped; resume with: {how}")
        raise typer.Exit(141 if gone else 130) from None
    data = api.show(result.folder)
    if as_json:
        print_json(data)
        return
    console = make_console()
    if not quiet:
        console.print()
    # Every minimum of the window is a result.
    top = None if quiet or data["minima"] is not None else max(LISTED, 2 * result.settings.search.top)
    show_run(data, console, top=top, watched=not quiet)
    console.print(f"structures, table and report: {result.folder / 'report.html'}", soft_wrap=True)


def show(
    folders: Annotated[list[Path], typer.Argument(help="Run folder; several of one compound are shown side by side.", metavar="FOLDER...")],
    as_json: AsJson = False,
) -> None:
    """Show the ranking of a search that is running, stopped or finished, or those of several searches side by side."""
    from nucleate.csp.run_data import read_run, show_data
    from nucleate.report.run_text import show_run, show_runs
    from nucleate.report.terminal import make_console

    if len(folders) == 1:
        # Not through nucleate.api, which imports torch for more than a second.
        data = show_data(read_run(folders[0]))
    else:
        from nucleate.polymorphs.side_by_side import side_by_side

        data = side_by_side(folders)
    if as_json:
        print_json(data)
    elif len(folders) == 1:
        show_run(data, make_console())
    else:
        show_runs(data, make_console())


def relax(
    file: Annotated[Path, typer.Argument(help="Structure file: CIF, extended XYZ, POSCAR or another format that ASE reads.")],
    settings: SettingsFile = None,
    reference: Engine = None,
    preset: Preset = None,
    pressure: Pressure = None,
    fmax: Annotated[float, typer.Option(help="Force threshold for convergence, eV/Å.")] = 0.02,
    smax: Annotated[float, typer.Option(help="Threshold of the stress plus pressure for convergence, GPa.")] = 0.1,
    max_steps: Annotated[int, typer.Option(help="Largest number of relaxation steps of a structure.")] = 200,
    keep_symmetry: Annotated[bool, typer.Option("--keep-symmetry", help="Keep the space group that a structure has within 0.1 Å.")] = False,
    optimiser: Annotated[
        str | None,
        typer.Option(help="Optimiser: fire, lbfgs, or learned:FILE, see docs/learned-moves.md; default: relax.optimiser of the settings."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output file; default: the input's name with -relaxed.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="SQLite file that keeps all calculations, so that none is repeated.")] = None,
    workers: Workers = None,
    executor: Blocks = None,
    as_json: AsJson = False,
) -> None:
    """Relax the structures of a file on the reference."""
    from dataclasses import asdict

    from nucleate import api
    from nucleate.pretrained import shown_name
    from nucleate.progress import Event, silent
    from nucleate.relax.on_reference import RelaxationStep
    from nucleate.report.run_text import surrogate_warning

    def show_step(event: Event, /) -> None:
        if isinstance(event, RelaxationStep):
            typer.echo(f"\r\x1b[K{event.calls} calls, largest force {event.fmax:.3f} eV/Å", err=True, nl=False)

    done = api.relax_file(
        file, reference=reference, preset=preset, settings=settings, pressure=pressure, fmax=fmax, smax=smax,
        max_steps=max_steps, keep_symmetry=keep_symmetry, optimiser=optimiser, workers=workers, out=out, ledger=ledger, executor=executor,
        progress=show_step if sys.stderr.isatty() else silent,
    )  # fmt: skip
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        structures = [asdict(structure) for structure in done.structures]
        print_json(
            {
                "out": done.out and str(done.out),
                "reference": done.reference,
                "surrogate": done.surrogate,
                "calls": done.calls,
                "pressure": done.pressure,
                "structures": structures,
            }
        )
    else:
        if done.surrogate:
            typer.echo(surrogate_warning(done.reference))
        for s in done.structures:
            volume = "" if s.volume is None else f" {s.volume:.3f} Å³/atom,"
            kind = "enthalpy " if done.pressure else ""
            energy = "" if s.energy is None else f" {kind}{s.energy:.6f} eV/atom,{volume}"
            typer.echo(
                f"{s.number}: {s.formula} {s.space_group},{energy} {quoted(s.stop, 200)} ({s.steps} step{'' if s.steps == 1 else 's'})"
            )
        typer.echo(
            f"{done.calls} call{'' if done.calls == 1 else 's'} of {shown_name(done.reference)}"
            + (f"; written to {done.out}" if done.out else "")
        )
    if done.out is None:
        raise typer.Exit(1)


def settings(
    write: Annotated[Path | None, typer.Option(help="File to which all settings are written, with their descriptions.")] = None,
) -> None:
    """Show all settings, or write them to a file for editing."""
    from nucleate.csp.run_settings import OF_THE_SEARCH, RunSettings
    from nucleate.persist.toml import commented_toml, described

    if write is not None:
        if write.exists():
            raise BadInput(f"{write}: exists already; choose another name or delete it")
        write.write_text(commented_toml(RunSettings.model_validate({}), "Settings of a nucleate search.", OF_THE_SEARCH), encoding="utf-8")
        typer.echo(f"written to {write}; use it with: nucleate search FORMULA --settings {write}")
        return
    from nucleate.report.terminal import make_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("setting", "type", "default", "description"):
        table.add_column(name, overflow="fold", no_wrap=name == "setting")
    for row in described(RunSettings, OF_THE_SEARCH):
        table.add_row(*row)
    make_console().print(table)
