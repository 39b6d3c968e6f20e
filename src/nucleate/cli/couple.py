"""The command `nucleate spins couple`: exchange couplings of a crystal by one of several methods."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from nucleate.cli.common import AsJson, Quiet, print_json
from nucleate.errors import BadInput, NucleateError, quoted

SURROGATES = ("chgnet", "sevennet")
METHODS = ("collinear", "four-state", "liechtenstein", "tb2j")


def given_moments(text: list[str]) -> dict[str, float]:
    """Return the moment of each element given by `--moment`.

    Raises:
        BadInput: an entry is not an element with a moment above zero.
    """
    from ase.data import atomic_numbers

    found: dict[str, float] = {}
    for part in (p for t in text for p in t.replace(",", " ").split()):
        element, sign, value = part.partition("=")
        if not sign:
            raise BadInput(f"--moment {quoted(part, 40)}: give an element and its moment, for example Mn=4.5")
        if element in found or not atomic_numbers.get(element):
            raise BadInput(f"--moment {quoted(part, 40)}: {'the element is given twice' if element in found else 'unknown element'}")
        try:
            found[element] = float(value)
        except ValueError:
            raise BadInput(f"--moment {quoted(part, 40)}: give an element and its moment, for example Mn=4.5") from None
        if not 0 < found[element] < 20:
            raise BadInput(
                f"--moment {quoted(part, 40)}: give a magnitude between 0 and 20; signs come from energies or the structure's moments"
            )
    return found


def tell(couplings: Any) -> None:
    """Print the notes of the couplings to stderr, so that --json output remains one object."""
    for note in couplings.notes:
        typer.echo(f"note: {note}", err=True)


def couple(
    structure: Annotated[Path, typer.Argument(help="Structure file of a crystal with magnetic atoms.")],
    out: Annotated[Path, typer.Option(help="Folder for calculations and couplings; repeating the command resumes an interrupted run.")],
    moment: Annotated[
        list[str], typer.Option(help="Initial moment of an element in Bohr magnetons, for example Mn=4.5; repeat for each element.")
    ],
    method: Annotated[
        str | None, typer.Option(help="Method: collinear (default), four-state, liechtenstein, or tb2j (Quantum ESPRESSO and Wannier90).")
    ] = None,
    cutoff: Annotated[float | None, typer.Option(help="Largest pair distance in Å; default: 5, or 8 for liechtenstein and tb2j.")] = None,
    insulator: Annotated[bool | None, typer.Option("--insulator", help="Reject metallic states (collinear, four-state).")] = None,
    spin_orbit: Annotated[
        bool | None, typer.Option("--spin-orbit", help="Compute coupling tensors with Dzyaloshinskii-Moriya vectors (liechtenstein).")
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
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compute exchange couplings of a crystal from total energies of spin states or by Liechtenstein's formula."""
    # Set before NumPy is imported: GPAW is ten times slower with oversubscribed threads.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from nucleate.crystals.io import read_structure
    from nucleate.persist.toml import read_settings

    if method not in (None, *METHODS):
        raise BadInput(f"--method {quoted(method, 40)}: unknown method; choose from {', '.join(METHODS)}")
    given = read_settings(settings, "write one with [reference] and [mapping], [liechtenstein] or [tb2j]") if settings else {}
    tables = {"tb2j": ("tb2j",), "liechtenstein": ("reference", "liechtenstein")}.get(str(method), ("reference", "mapping"))
    unknown = set(given) - set(tables)
    if unknown:
        raise BadInput(
            f"{settings}: unknown table {quoted(', '.join(sorted(unknown)), 60)}; method {method or 'collinear'} reads {', '.join(tables)}"
        )
    for name, value in given.items():
        if not isinstance(value, dict):
            raise BadInput(f"{settings}: [{name}] must be a table")
    if method in ("tb2j", "liechtenstein") and (insulator or workers is not None):
        raise BadInput(f"--insulator and --workers have no effect on method {method}")
    if spin_orbit and method != "liechtenstein":
        raise BadInput("--spin-orbit requires --method liechtenstein")
    moments = given_moments(moment)
    options: dict[str, Any] = {"moments": moments}
    atoms = read_structure(structure)
    _refuse_other_crystal(out, atoms, moments)
    where = str(settings) if settings else "options"
    try:
        if method == "tb2j":
            options |= {} if cutoff is None else {"cutoff_pairs": cutoff}
            _wannier(atoms, out, {**given.get("tb2j", {}), **options}, quiet, as_json)
        elif method == "liechtenstein":
            options |= {k: v for k, v in {"cutoff": cutoff, "spin_orbit": spin_orbit}.items() if v is not None}
            _liechtenstein(atoms, out, {**given.get("liechtenstein", {}), **options}, given.get("reference", {}), where, quiet, as_json)
        else:
            chosen = {"method": method, "insulator": insulator, "cutoff": cutoff}
            options |= {k: v for k, v in chosen.items() if v is not None}
            _energies(
                atoms, out, {**given.get("mapping", {}), **options}, given.get("reference", {}), where, 1 if workers is None else workers,
                quiet, as_json,
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("stopped; repeat the command to resume", err=True)
        raise typer.Exit(130) from None


def _refuse_other_crystal(out: Path, atoms: Any, moments: dict[str, float]) -> None:
    """Raise `BadInput` if the folder holds couplings of another crystal, so that they are not overwritten."""
    import numpy as np

    from nucleate.spins.files.table import read_table

    if not (out / "couplings.csv").exists():
        return
    if not (out / "couplings.csv").is_file():
        raise BadInput(f"{out}: couplings.csv in this folder is not a file; choose another folder")
    try:
        there = read_table(out / "couplings.csv")
    except NucleateError:
        # A damaged table is overwritten.
        return
    here = atoms[[k for k, symbol in enumerate(atoms.get_chemical_symbols()) if moments.get(symbol)]]
    same = there.symbols == tuple(here.get_chemical_symbols()) and np.allclose(there.cell, atoms.cell.array, atol=1e-6)
    away = (there.positions - here.positions) @ np.linalg.inv(there.cell) if same else np.ones(3)
    if not same or np.abs(away - np.rint(away)).max() > 1e-6:
        raise BadInput(f"{out}: couplings.csv in this folder belongs to another crystal; choose another folder")


def _energies(
    atoms: Any, out: Path, mapping: dict[str, Any], reference: dict[str, Any], where: str, workers: int, quiet: bool, as_json: bool
) -> None:
    from nucleate.persist.toml import validated
    from nucleate.reference import Dispatcher, ReferenceSettings, make_reference
    from nucleate.reference.build import WITHOUT_EFFECT
    from nucleate.reference.ledger import ledger_file
    from nucleate.report.terminal import make_console
    from nucleate.spins.dft.mapping import MappingSettings, map_couplings

    how = validated(MappingSettings, mapping, "options")
    engine = validated(ReferenceSettings, reference, where)
    if engine.engine in SURROGATES:
        raise BadInput(
            f"{where}: energies of engine {engine.engine} do not depend on magnetic moments; choose an engine that supports spin states"
        )
    if "smearing" not in {*reference, *WITHOUT_EFFECT[engine.engine]}:
        # All states use the same smearing width, whatever the preset; engines with their own smearing parameters keep them.
        engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    console = make_console()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be created: {error.strerror}") from None

    def progress(kind: str, facts: dict[str, Any]) -> None:
        if not quiet and not as_json:
            state = "failed" if facts["failed"] else "done"
            console.print(f"state {facts['done']} of {facts['total']} ({facts['signs']}): {state}", highlight=False, markup=False)

    with (
        ledger_file(out / "ledger.db") as ledger,
        Dispatcher(make_reference(engine), ledger, workers=workers, timeout=engine.timeout) as dispatcher,
    ):
        found = map_couplings(atoms, how, dispatcher, progress)
    for failure in found.failures:
        typer.echo(f"skipped: {failure}", err=True)
    for note in found.notes:
        typer.echo(f"note: {note}", err=True)
    misfit = None if found.misfit != found.misfit else found.misfit
    _hand_over(out, found.couplings, {"misfit": misfit, "failures": found.failures, "notes": found.notes}, as_json)
    if misfit is not None and not as_json:
        console.print(f"RMS misfit of the {len(found.states)} states: {misfit:.2f} meV", highlight=False)


def _liechtenstein(atoms: Any, out: Path, how: dict[str, Any], reference: dict[str, Any], where: str, quiet: bool, as_json: bool) -> None:
    from nucleate.persist.toml import validated
    from nucleate.reference import ReferenceSettings
    from nucleate.report.terminal import make_console
    from nucleate.spins.dft.gpaw_liechtenstein import LiechtensteinSettings, liechtenstein_couplings

    resolved = validated(LiechtensteinSettings, how, "options and [liechtenstein]")
    engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    console = make_console()
    found = liechtenstein_couplings(
        atoms, resolved, engine, out, lambda step: None if quiet or as_json else console.print(step, markup=False)
    )
    facts = {"moments": found.moments.tolist(), "mesh": found.mesh, "balance": found.balance.tolist()}
    _hand_over(out, found.couplings, facts, as_json)
    if not as_json:
        moments, balance = (", ".join(f"{x:{sign}.2f}" for x in of) for of, sign in ((found.moments, "+"), (found.balance, "")))
        summary = f"moments: {moments} Bohr magnetons; {' x '.join(map(str, found.mesh))} k-points; balance (ideal: 1): {balance}"
        console.print(summary, highlight=False, markup=False, soft_wrap=True)


def _hand_over(out: Path, couplings: Any, facts: dict[str, Any], as_json: bool) -> None:
    """Write the couplings to the folder and print them."""
    from nucleate.persist.files import write_whole
    from nucleate.report.spins import shell_table, shells
    from nucleate.report.terminal import make_console
    from nucleate.spins.files.table import table_text

    path = out / "couplings.csv"
    tell(couplings)
    write_whole(path, table_text(couplings))
    if as_json:
        print_json({"couplings": str(path), "shells": shells(couplings), **facts})
        return
    console = make_console()
    console.print(shell_table(couplings))
    console.print(f"couplings: {path}", highlight=False, markup=False, soft_wrap=True)


def _wannier(atoms: Any, out: Path, how: dict[str, Any], quiet: bool, as_json: bool) -> None:
    from dataclasses import asdict

    from nucleate.persist.toml import validated
    from nucleate.report.terminal import make_console
    from nucleate.spins.dft.espresso_tb2j import WannierSettings, wannier_couplings

    resolved = validated(WannierSettings, how, "[tb2j]")
    console = make_console()
    found = wannier_couplings(atoms, resolved, out, lambda step: None if quiet or as_json else console.print(step, markup=False))
    facts = {k: v for k, v in asdict(found).items() if k != "couplings"}
    _hand_over(out, found.couplings, facts, as_json)
    if not as_json:
        console.print(f"total moment of the cell: {found.total_moment:.2f} Bohr magnetons", highlight=False)
