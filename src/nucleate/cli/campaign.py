"""The verb `campaign`: searches of many formulas with one ledger and one executor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nucleate.cli.common import (
    AsJson,
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
    interruptible,
    print_json,
)
from nucleate.errors import quoted

if TYPE_CHECKING:
    from nucleate.campaign.summary import Summary


def register(app: typer.Typer) -> None:
    """Add the verb to the program."""
    app.command()(campaign)


def campaign(
    formulas: Annotated[Path, typer.Argument(metavar="FILE", help="Text file with a formula or chemical system in each line.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the campaign; default: named after the file.")] = None,
    settings: SettingsFile = None,
    reference: Engine = None,
    preset: Preset = None,
    pressure: Pressure = None,
    budget: Annotated[int | None, typer.Option(help="Largest number of reference calls of each search.")] = None,
    top: Annotated[int | None, typer.Option(help="Number of lowest polymorphs that must stay unchanged before a search stops.")] = None,
    pool: Annotated[int | None, typer.Option(help="Number of candidates relaxed on the committee in each round.")] = None,
    seed: Annotated[int | None, typer.Option(help="Random seed of every search.")] = None,
    model: Annotated[str | None, typer.Option(help="Family of the learned potential.")] = None,
    prior: Prior = None,
    teacher: Annotated[str | None, typer.Option(help="Pretrained potential that is searched before the reference.")] = None,
    strategy: Annotated[str | None, typer.Option(help="New candidates: random, mixed or evolution.")] = None,
    prototypes: Prototypes = None,
    max_atoms: Annotated[int | None, typer.Option(help="Largest number of atoms in a cell, for chemical systems.")] = None,
    share_labels: Annotated[
        bool, typer.Option("--share-labels/--no-share-labels", help="Let searches learn from the labels of earlier ones.")
    ] = True,
    at_once: Annotated[int | None, typer.Option(help="Number of simultaneous searches; default: 4 with an executor file, else 1.")] = None,
    workers: Workers = None,
    executor: ExecutorFile = None,
    ledger: SharedLedgerAddress = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Search many formulas; the same command resumes what was stopped."""
    from nucleate.campaign.members import read_formulas
    from nucleate.campaign.run import MemberEvent, write_summary
    from nucleate.campaign.run import campaign as run_campaign
    from nucleate.csp.events import PolymorphConfirmed, RoundDone
    from nucleate.progress import Event, Note

    def show_event(event: Event, /) -> None:
        if not isinstance(event, MemberEvent):
            return
        what = event.event
        text = what if isinstance(what, str) else ""
        if isinstance(what, RoundDone):
            text = f"round {what.record.round}, {what.record.calls} calls"
        elif isinstance(what, PolymorphConfirmed):
            text = f"confirmed {f'{what.formula} {what.space_group}'.strip()}, {what.energy:.4f} eV/atom, after {what.calls} calls"
        elif isinstance(what, Note):
            text = what.text
        if not quiet or text.startswith("failed"):
            complain(f"{event.name}: {quoted(text, 300)}")

    folder = Path(formulas.stem) if out is None else out
    named = read_formulas(formulas)
    with interruptible(f"stopped; the same command resumes the campaign in {folder}"):
        result = run_campaign(
            named, out=folder, settings=settings, executor=executor, ledger=ledger, share_labels=share_labels, at_once=at_once,
            progress=show_event, reference=reference, preset=preset, pressure=pressure, budget=budget, top=top, pool=pool, seed=seed,
            model=model, prior=prior, teacher=teacher, strategy=strategy, prototypes=prototypes, max_atoms=max_atoms, workers=workers,
        )  # fmt: skip
    page = write_summary(result)
    if as_json:
        print_json(result.as_dict())
    else:
        _show(result, page)
    if any(line.status != "finished" for line in result.lines):
        raise typer.Exit(1)


def _show(result: Summary, page: Path) -> None:
    from rich.table import Table

    from nucleate.report.terminal import make_console, plain

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("formula", "status", "calls", "found", "lowest", "eV/atom", "polymorphs"):
        table.add_column(name, justify="right" if name in ("calls", "found", "eV/atom", "polymorphs") else "left")
    for line in result.lines:
        energy = "" if line.energy is None else f"{line.energy:.4f}"
        cells = (line.name, line.status, str(line.calls), str(line.found), line.space_group or "", energy, str(line.polymorphs))
        table.add_row(*(plain(cell) for cell in cells))
    console = make_console()
    console.print(table)
    for hull in result.hulls:
        name = "-".join(hull.symbols)
        if hull.missing:
            console.print(f"{name}: no hull without {', '.join(hull.missing)}; add to the formulas", soft_wrap=True, highlight=False)
            continue
        on = sorted(phase.formula for phase in hull.phases if phase.above < 1e-6)
        console.print(f"{name}: on the hull: {', '.join(on)}", soft_wrap=True, highlight=False)
    for line in result.lines:
        if line.error is not None:
            console.print(f"{line.name} failed: {plain(line.error)}", soft_wrap=True, highlight=False, markup=False)
        if line.advice is not None:
            console.print(f"{line.name}: {line.advice}", soft_wrap=True, highlight=False, markup=False)
    calls, found = (sum(getattr(line, key) for line in result.lines) for key in ("calls", "found"))
    console.print(f"{calls} reference calls, {found} labels found; table and hulls: {page}", soft_wrap=True, highlight=False)
