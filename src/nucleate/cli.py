"""The command line: verbs only; `api.py` does the work, `report/terminal.py` shows it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import select
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from nucleate.cli_electrons import register as register_electrons
from nucleate.cli_spins import register as register_spins
from nucleate.cli_training import register as register_training
from nucleate.errors import BadInput, InputNote, NucleateError, quoted

MOST_NOTES = 5


class _Verbs(TyperGroup):
    """Turns every error a user can cause into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _end_workers()
            _complain("stopped")
            raise typer.Exit(130) from None
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _reader_is_gone():
                # Whoever read the output has seen enough, as `head` does.
                _end_workers()
                _drop_output()
                raise typer.Exit(0) from None
            if os.environ.get("NUCLEATE_DEBUG") or type(error).__module__.startswith(("click", "typer")):
                raise
            _complain(f"error: {_one_line(error)}")
            raise typer.Exit(error.exit_code if isinstance(error, NucleateError) else 1) from None


def _end_workers() -> None:
    """Workers pass over interrupts: nobody wants to wait for a calculation that nobody will read."""
    for worker in multiprocessing.active_children():
        worker.terminate()


class _Notes:
    """Shows how files were read, each note once and the first few alone: a file of a thousand frames says the same of each."""

    def __init__(self) -> None:
        self._shown: set[str] = set()

    def __call__(self, message: Warning | str, *unused: Any, **more: Any) -> None:
        """Takes the place of `warnings.showwarning`."""
        text = str(message)
        if text in self._shown or len(self._shown) > MOST_NOTES:
            return
        self._shown.add(text)
        _complain(f"note: {text}" if len(self._shown) <= MOST_NOTES else "note: and more like these")


def _complain(text: str) -> None:
    """A line on stderr, where somebody may have stopped reading as well."""
    with contextlib.suppress(OSError):
        typer.echo(text, err=True)


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output any more; a broken pipe may be one to a worker as well."""
    try:
        output = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))


def _drop_output() -> None:
    """Send what is still to be written nowhere: Python writes its buffers out once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


LONGEST_MESSAGE = 500
"""Characters of an error's line; most are below 200, and whatever comes from outside is cut to 80 where it is taken in."""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, NucleateError):
        return quoted(text, LONGEST_MESSAGE)
    if isinstance(error, OSError):
        where = f"{quoted(str(error.filename), 200)}: " if error.filename else ""
        return f"{where}{quoted(error.strerror or text, 200)}"
    return f"{type(error).__name__}: {quoted(text, 120)} (a bug: NUCLEATE_DEBUG=1 shows where; please report it)"


app = typer.Typer(
    cls=_Verbs,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Crystal structure prediction from first principles: a formula in, ranked polymorphs out.",
)
benchmarks = typer.Typer(no_args_is_help=True, help="Measure nucleate against random search.")
app.add_typer(benchmarks, name="benchmark")
register_training(app)
register_electrons(app)
register_spins(app)

SettingsFile = Annotated[Path | None, typer.Option(help="TOML file; options go before it. See: nucleate settings.")]
Engine = Annotated[str | None, typer.Option("--reference", help="gpaw, espresso, vasp, cp2k, ase, chgnet or sevennet.")]
Preset = Annotated[str | None, typer.Option(help="fast, standard or accurate.")]
Pressure = Annotated[float | None, typer.Option(help="External pressure, GPa.")]
Workers = Annotated[int | None, typer.Option(help="Reference calculations side by side.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show nothing but the result.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable; see docs/json.md.")]


def _version(asked: bool) -> None:
    if asked:
        import nucleate

        typer.echo(f"nucleate {nucleate.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")] = False,
) -> None:
    if not os.environ.get("NUCLEATE_DEBUG"):
        import warnings

        warnings.simplefilter("ignore")
        # Worker processes inherit it.
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        warnings.filterwarnings("always", category=InputNote)
        warnings.showwarning = _Notes()


@app.command()
def search(
    formula: Annotated[str | None, typer.Argument(help="What the cell holds, such as Si8 or Al4O6.")] = None,
    settings: SettingsFile = None,
    reference: Engine = None,
    preset: Preset = None,
    pressure: Pressure = None,
    budget: Annotated[int | None, typer.Option(help="Hard limit of reference calls, failures included.")] = None,
    top: Annotated[int | None, typer.Option(help="Polymorphs wanted.")] = None,
    pool: Annotated[int | None, typer.Option(help="Candidates relaxed on the committee in each round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    seeds_from: Annotated[Path | None, typer.Option(help="File of your own structures.")] = None,
    model: Annotated[str | None, typer.Option(help="What is learned: manybody, a2a, molcnn, schnet, painn or soap-krr.")] = None,
    prior: Annotated[str | None, typer.Option(help="Learn the difference to chgnet, sevennet or mace:FILE.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; unset: named after the formula.")] = None,
    workers: Workers = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search the crystal structures of a formula."""
    from nucleate import api

    _searching(
        lambda told: api.search(
            formula, settings=settings, reference=reference, preset=preset, pressure=pressure, budget=budget,
            top=top, pool=pool, seed=seed, seeds_from=seeds_from, model=model, prior=prior, workers=workers, out=out, on_event=told,
        ),
        quiet, as_json,
    )  # fmt: skip


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Run folder.")],
    budget: Annotated[int | None, typer.Option(help="Raise the limit of reference calls to this.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Start what another user's run.toml names: read it first.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a search that was stopped or killed, or that spent its budget; nothing is computed twice."""
    from nucleate import api

    _searching(lambda told: api.resume(folder, budget=budget, on_event=told, trust=trust), quiet, as_json)


def _searching(run: Any, quiet: bool, as_json: bool) -> None:
    from nucleate import api
    from nucleate.report.terminal import SearchView, make_console, show_run

    # A batch system ends a job with SIGTERM: the same as an interrupt by hand.
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    view = SearchView(make_console(stderr=as_json), quiet)

    def told(kind: str, facts: dict[str, Any]) -> None:
        if kind == "starts":
            _complain(f"this run starts: {quoted(facts['text'], 250)}")
        view.on_event(kind, facts)

    try:
        with view:
            result = run(told)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        # Nobody reads any more, as behind `head`: the search stops as by hand, with all that was computed.
        gone = isinstance(error, BrokenPipeError)
        if view.folder is None or (gone and not _reader_is_gone()):
            raise
        _end_workers()
        if gone:
            _drop_output()
        _complain(f"stopped; resume with: nucleate resume {quoted(view.folder, 300)}")
        raise typer.Exit(141 if gone else 130) from None
    finally:
        signal.signal(signal.SIGTERM, previous)
    data = api.show(result.folder)
    if as_json:
        _print_json(data)
        return
    console = make_console()
    if not quiet:
        console.print()
    show_run(data, console, top=None if quiet else 2 * result.settings.search.top, told=not quiet)
    console.print(f"structures, table and report: {result.folder / 'report.html'}", soft_wrap=True)


@app.command()
def show(folder: Annotated[Path, typer.Argument(help="Run folder.")], as_json: AsJson = False) -> None:
    """Show the ranking of a search: running, stopped or finished."""
    from nucleate import api
    from nucleate.report.terminal import make_console, show_run

    data = api.show(folder)
    if as_json:
        _print_json(data)
    else:
        show_run(data, make_console())


@app.command()
def relax(
    file: Annotated[Path, typer.Argument(help="CIF, extxyz, POSCAR or whatever else ASE reads.")],
    settings: SettingsFile = None,
    reference: Engine = None,
    preset: Preset = None,
    pressure: Pressure = None,
    fmax: Annotated[float, typer.Option(help="Converged below this force on an atom, eV/Å.")] = 0.02,
    smax: Annotated[float, typer.Option(help="... and this component of stress plus pressure, GPa.")] = 0.1,
    max_steps: Annotated[int, typer.Option(help="Limit of steps.")] = 200,
    out: Annotated[Path | None, typer.Option(help="File to write; unset: -relaxed is added to the name.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="Keep calculations here; asked again they cost nothing.")] = None,
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Relax the structures of a file on the reference."""
    from dataclasses import asdict

    from nucleate import api
    from nucleate.report.data import SCHEMA
    from nucleate.report.terminal import surrogate_warning

    def told(kind: str, facts: dict[str, Any]) -> None:
        text = f"{facts['calls']} calls, largest force {facts['fmax']:.3f} eV/Å"
        typer.echo(f"\r\x1b[K{text}", err=True, nl=False)

    done = api.relax_file(
        file, reference=reference, preset=preset, settings=settings, pressure=pressure, fmax=fmax, smax=smax,
        max_steps=max_steps, workers=workers, out=out, ledger=ledger, on_event=told if sys.stderr.isatty() else None,
    )  # fmt: skip
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)
    if as_json:
        structures = [asdict(structure) for structure in done.structures]
        _print_json(
            {
                "schema": SCHEMA,
                "out": done.out and str(done.out),
                "reference": done.reference,
                "surrogate": done.surrogate,
                "calls": done.calls,
                "structures": structures,
            }
        )
    else:
        if done.surrogate:
            typer.echo(surrogate_warning(done.reference))
        for s in done.structures:
            energy = "" if s.energy is None else f" {s.energy:.6f} eV/atom, {s.volume:.3f} Å³/atom,"
            typer.echo(f"{s.number}: {s.formula} {s.space_group},{energy} {quoted(s.stop, 200)} ({s.steps} steps)")
        typer.echo(f"{done.calls} reference calls" + (f"; written to {done.out}" if done.out else ""))
    if done.out is None:
        raise typer.Exit(1)


@app.command()
def settings(
    write: Annotated[Path | None, typer.Option(help="Write all settings with their descriptions here.")] = None,
) -> None:
    """Show every setting; or write them to a file to edit."""
    from nucleate.search.run_settings import OF_THE_SEARCH, RunSettings
    from nucleate.settings_text import commented_toml, described

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


@benchmarks.command("search")
def benchmark_search(
    system: Annotated[str, typer.Option(help="Formula with a known ground state, such as Si8.")],
    reference: Annotated[str, typer.Option(help="Engine that is the reference.")] = "chgnet",
    seeds: Annotated[int, typer.Option(min=1, help="Searches.")] = 10,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first.")] = 0,
    budget: Annotated[int, typer.Option(min=1, help="Calls a search may spend.")] = 1000,
    baseline_cells: Annotated[int, typer.Option(min=0, help="Cells relaxed for each random-search baseline.")] = 0,
    ablation: Annotated[bool, typer.Option("--ablation", help="Also search with candidates without symmetry.")] = False,
    pretrained: Annotated[str | None, typer.Option(help="Surrogate that relaxes the cells; the reference confirms the lowest.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder that keeps what is done; the same command goes on there.")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Reference calls until the known ground state is found, over many seeds."""
    from nucleate.benchmark.run import benchmark
    from nucleate.report.data import SCHEMA
    from nucleate.report.terminal import show_benchmark, surrogate_warning
    from nucleate.settings_text import read_settings

    overrides = {} if settings is None else read_settings(settings)
    if not as_json and reference in ("chgnet", "sevennet"):
        typer.echo(surrogate_warning(reference))

    def told(name: str, result: dict[str, Any]) -> None:
        if "first" in result:
            hit = f"hit after {result['first']}" if result["first"] is not None else f"no hit in {result['calls']}"
            typer.echo(f"{name}: {hit} calls, {result['seconds']:.0f} s", err=as_json)

    numbers = list(range(first_seed, first_seed + seeds))
    report = benchmark(system, reference, numbers, budget, overrides, baseline_cells, ablation, pretrained, workers, out, told)
    if as_json:
        _print_json({"schema": SCHEMA, **report})
    else:
        show_benchmark(report)


def _print_json(data: dict[str, Any]) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False))


def main() -> None:
    """Entry point of the `nucleate` command."""
    try:
        app()
    finally:
        # Here rather than at the interpreter's end, which prints what goes wrong and changes the exit code.
        try:
            sys.stdout.flush()
        except (AttributeError, ValueError):
            pass  # It was closed before the program began.
        except BrokenPipeError:
            _drop_output()
