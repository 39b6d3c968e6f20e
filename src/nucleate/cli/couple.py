"""The command `nucleate spins couple`: exchange couplings of a crystal by one of several methods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Quiet, SharedLedgerAddress, print_json
from nucleate.errors import BadInput, quoted


def given_moments(text: list[str]) -> dict[str, float]:
    """Return the moment of each element given by `--moment`.

    Raises:
        BadInput: an entry is not an element with a moment above zero.
    """
    from ase.data import atomic_numbers

    moments: dict[str, float] = {}
    for part in (p for t in text for p in t.replace(",", " ").split()):
        element, sign, value = part.partition("=")
        if not sign:
            raise BadInput(f"--moment {quoted(part, 40)}: give an element and its moment, for example Mn=4.5")
        if element in moments or not atomic_numbers.get(element):
            raise BadInput(f"--moment {quoted(part, 40)}: {'the element is given twice' if element in moments else 'unknown element'}")
        try:
            moments[element] = float(value)
        except ValueError:
            raise BadInput(f"--moment {quoted(part, 40)}: give an element and its moment, for example Mn=4.5") from None
        if not 0 < moments[element] < 20:
            raise BadInput(
                f"--moment {quoted(part, 40)}: give a magnitude between 0 and 20; signs come from energies or the structure's moments"
            )
    return moments


def print_notes(couplings: Any) -> None:
    """Print the notes of the couplings to stderr, so that --json output remains one object."""
    for note in couplings.notes:
        typer.echo(f"note: {note}", err=True)


def couple(
    structure: Annotated[
        Path,
        typer.Argument(metavar="FILE|DIR", help="Structure file of a crystal with magnetic atoms, or run folder of a search."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for calculations and couplings of a file; repeating the command resumes an interrupted run."),
    ] = None,
    moment: Annotated[
        list[str] | None,
        typer.Option(help="Initial moment of an element in Bohr magnetons, for example Mn=4.5; repeat for each element of a file."),
    ] = None,
    top: Annotated[int | None, typer.Option(help="Number of magnetic polymorphs of a run folder, the lowest first; default: 3.")] = None,
    method: Annotated[
        str | None, typer.Option(help="Method: collinear (default), four-state, liechtenstein, or tb2j (Quantum ESPRESSO and Wannier90).")
    ] = None,
    cutoff: Annotated[float | None, typer.Option(help="Largest pair distance in Å; default: 5, or 8 for liechtenstein and tb2j.")] = None,
    insulator: Annotated[bool | None, typer.Option("--insulator", help="Reject metallic states (collinear, four-state).")] = None,
    spin_orbit: Annotated[
        bool | None, typer.Option("--spin-orbit", help="Compute coupling tensors with Dzyaloshinskii-Moriya vectors (liechtenstein).")
    ] = None,
    renormalised: Annotated[
        bool | None, typer.Option("--renormalised", help="Couplings of moments instead of exchange fields (liechtenstein).")
    ] = None,
    cone_angle: Annotated[
        float | None, typer.Option(help="Couplings from conical spirals with this angle in degrees (liechtenstein, one magnetic site).")
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", help="TOML file with the tables reference and mapping or liechtenstein, or with tb2j; options override it."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Number of parallel calculations; 0: in this process; default: 1 (collinear, four-state).")
    ] = None,
    ledger: SharedLedgerAddress = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compute exchange couplings of a crystal or of a search's magnets, from energies of spin states or by Liechtenstein's formula."""
    # Set before NumPy is imported: GPAW is ten times slower with oversubscribed threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from nucleate.progress import Event, Stage
    from nucleate.report.spins import shell_table, shells
    from nucleate.report.terminal import make_console
    from nucleate.spins import api
    from nucleate.spins.dft.mapping import StateDone

    console = make_console()

    def show_event(event: Event, /) -> None:
        if quiet or as_json:
            return
        if isinstance(event, Stage):
            console.print(event.name, markup=False)
        elif isinstance(event, StateDone):
            state = "failed" if event.failed else "done"
            console.print(f"state {event.done} of {event.total} ({event.signs}): {state}", highlight=False, markup=False)

    options: dict[str, Any] = {
        "method": method, "cutoff": cutoff, "insulator": insulator, "spin_orbit": spin_orbit, "renormalised": renormalised,
        "cone_angle": cone_angle, "settings": settings, "workers": workers, "ledger": ledger, "progress": show_event,
    }  # fmt: skip
    if structure.is_dir():
        idle = [name for name, value in (("--out", out), ("--moment", moment)) if value]
        if idle:
            raise BadInput(f"{' and '.join(idle)}: a run folder has its own; leave them out, or give a structure file")
    else:
        absent = [name for name, value in (("--out", out), ("--moment", moment)) if not value]
        if absent:
            raise BadInput(f"{structure}: a structure file requires {' and '.join(absent)}")
        if top is not None:
            raise BadInput("--top selects polymorphs of a run folder; leave it out")
    try:
        if out is None:
            _polymorphs(structure, top, options, as_json)
            return
        result = api.couple(structure, out, given_moments(moment or []), **options)
    except KeyboardInterrupt:
        typer.echo("stopped; repeat the command to resume", err=True)
        raise typer.Exit(130) from None
    couplings, facts = result.couplings, result.facts
    for failure in facts.get("failures", []):
        typer.echo(f"skipped: {failure}", err=True)
    for note in facts.get("notes", []):
        typer.echo(f"note: {note}", err=True)
    print_notes(couplings)
    if as_json:
        print_json({"couplings": str(result.path), "shells": shells(couplings), **facts})
        return
    console.print(shell_table(couplings))
    console.print(f"couplings: {result.path}", highlight=False, markup=False, soft_wrap=True)
    for line in _summary(facts, result.states):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _polymorphs(path: Path, top: int | None, options: dict[str, Any], as_json: bool) -> None:
    """Couple the magnetic polymorphs of a run folder, print them, and renew the report."""
    from nucleate.polymorphs.magnets import couple_polymorphs
    from nucleate.report.html import write_report
    from nucleate.report.spins import polymorph_data, polymorph_table
    from nucleate.report.terminal import make_console

    found = couple_polymorphs(path, top=top, failed=lambda text: typer.echo(f"failed: {text}", err=True), **options)
    page = write_report(path)
    if as_json:
        print_json({"polymorphs": polymorph_data(found), "report": str(page)})
        return
    console = make_console()
    console.print(polymorph_table(found))
    console.print(f"couplings: {found[0].folder.parent}; report: {page}", highlight=False, markup=False, soft_wrap=True)


def _order(order: dict[str, Any]) -> str:
    """Return what all couplings on the mesh say of the order of the state."""
    if order["unstable"] is not None:
        q = ", ".join(f"{x:.3f}" for x in order["unstable"])
        return f"without a cutoff: the state is unstable; the wave vector ({q}) lowers its energy most"
    parts = [f"mean field {order['mean_field']:.0f} K"]
    if order["rpa"] is not None:
        parts.append(f"RPA {order['rpa']:.0f} K")
    if order["stiffness"] is not None:
        parts.append(f"stiffness {sum(order['stiffness'][k][k] for k in range(3)) / 3:.0f} meV Å²")
    return f"without a cutoff: {', '.join(parts)}"


def _summary(facts: dict[str, Any], states: int) -> list[str]:
    if facts.get("misfit") is not None:
        return [f"RMS misfit of the {states} states: {facts['misfit']:.2f} meV"]
    if "balance" in facts:
        moments, balance = ", ".join(f"{x:+.2f}" for x in facts["moments"]), ", ".join(f"{x:.2f}" for x in facts["balance"])
        mesh = " x ".join(map(str, facts["mesh"]))
        lines = [f"moments: {moments} Bohr magnetons; {mesh} k-points; balance (ideal: 1): {balance}", _order(facts["order"])]
        if "anisotropy" in facts:
            x, y, z = facts["anisotropy"]
            lines.append(f"energy of moments along x, y, z: {x:.3f}, {y:.3f}, {z:.3f} meV per cell")
        return lines
    if "total_moment" in facts:
        return [f"total moment of the cell: {facts['total_moment']:.2f} Bohr magnetons"]
    return []
