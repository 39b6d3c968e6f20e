"""Compute, assign and convert couplings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, NucleateError, quoted
from nucleate.persist.files import write_whole
from nucleate.persist.toml import read_settings, validated
from nucleate.pretrained import PRETRAINED
from nucleate.progress import Progress, silent
from nucleate.reference import Dispatcher, ReferenceSettings, make_reference
from nucleate.reference.build import without_effect
from nucleate.reference.ledger import ledger_file
from nucleate.reference.shared.opened import owner_of, shared_ledger
from nucleate.spins.couplings import Couplings
from nucleate.spins.dft.espresso_tb2j import WannierSettings, wannier_couplings
from nucleate.spins.dft.gpaw_liechtenstein import liechtenstein_couplings
from nucleate.spins.dft.mapping import MappingSettings, map_couplings
from nucleate.spins.dft.response_settings import LiechtensteinSettings
from nucleate.spins.files.spirit import spirit_text
from nucleate.spins.files.table import read_table, table_text
from nucleate.spins.files.tb2j import tb2j_text
from nucleate.spins.shells import on_shells
from nucleate.spins.verbs.given import AnyPath, Structure, as_atoms, as_couplings

METHODS = ("collinear", "four-state", "liechtenstein", "tb2j")
FORMATS = (".csv", ".out", ".cfg")
FEW_DECIMALS = 0.02
"""meV; TB2J's format has four decimals, which leave two digits of a coupling of this size."""


@dataclass(frozen=True)
class Coupled:
    """Exchange couplings of a crystal.

    Attributes:
        couplings: The couplings, as written to `couplings.csv` of the folder.
        path: This file.
        facts: What the method reports beside them, as printed by `nucleate spins couple --json`.
        states: Number of spin states that entered (collinear, four-state); 0: none.
    """

    couplings: Couplings
    path: Path
    facts: dict[str, Any]
    states: int = 0


def couple(
    structure: Structure,
    out: AnyPath,
    moments: Mapping[str, float],
    *,
    method: str | None = None,
    cutoff: float | None = None,
    insulator: bool | None = None,
    spin_orbit: bool | None = None,
    renormalised: bool | None = None,
    cone_angle: float | None = None,
    settings: AnyPath | dict[str, Any] | None = None,
    workers: int | None = None,
    ledger: AnyPath | None = None,
    progress: Progress = silent,
) -> Coupled:
    """Compute the exchange couplings of a crystal from total energies of spin states or by Liechtenstein's formula.

    Args:
        structure: Crystal with magnetic atoms, or its file.
        out: Folder for calculations and couplings; the same call resumes an interrupted run there.
        moments: Initial moment of each magnetic element in Bohr magnetons.
        method: `collinear` (None), `four-state`, `liechtenstein`, or `tb2j` (Quantum ESPRESSO and Wannier90).
        cutoff: Largest pair distance in Å; None: that of the method.
        insulator: Whether metallic states are rejected (collinear, four-state).
        spin_orbit: Whether to compute coupling tensors with Dzyaloshinskii-Moriya vectors (liechtenstein).
        renormalised: Whether to compute couplings of the directions of moments instead of exchange fields (liechtenstein).
        cone_angle: Angle in degrees of conical spirals whose energies determine the couplings (liechtenstein, one magnetic site).
        settings: TOML file or dictionary with the tables `reference` and `mapping` or `liechtenstein`, or with `tb2j`.
        workers: Number of parallel calculations; 0: in this process; None: 1 (collinear, four-state).
        ledger: Ledger that other calculations share, see docs/shared-ledger.md (collinear, four-state); None: that of the settings.
        progress: Called with a `StateDone` after each spin state, or a `nucleate.progress.Stage` at the start of each stage.

    Raises:
        BadInput: The structure or a setting cannot be used, or the folder belongs to another crystal.
        NucleateError: Too many states failed or converged to other states; the message lists them.
        ReferenceFailed: A calculation failed.
    """
    folder = Path(out)
    if method not in (None, *METHODS):
        raise BadInput(f"method {quoted(method, 40)}: unknown method; choose from {', '.join(METHODS)}")
    given = _tables(settings, method)
    if method in ("tb2j", "liechtenstein") and (insulator or workers is not None or ledger is not None):
        raise BadInput(f"insulator, workers and ledger have no effect on method {method}")
    own_options = {"spin-orbit coupling": spin_orbit, "renormalised": renormalised, "cone angle": cone_angle}
    for name, value in own_options.items():
        if value is not None and value is not False and method != "liechtenstein":
            raise BadInput(f"{name} requires method liechtenstein")
    atoms = as_atoms(structure)
    _refuse_other_crystal(folder, atoms, moments)
    own = dict(moments)
    if method == "tb2j":
        return _wannier(atoms, folder, {**given.get("tb2j", {}), **_set(moments=own, cutoff_pairs=cutoff)}, progress)
    where = "settings" if isinstance(settings, dict) else str(settings) if settings else "options"
    reference = given.get("reference", {})
    if method == "liechtenstein":
        options = _set(moments=own, cutoff=cutoff, spin_orbit=spin_orbit, renormalised=renormalised, cone_angle=cone_angle)
        return _liechtenstein(atoms, folder, {**given.get("liechtenstein", {}), **options}, reference, where, progress)
    options = _set(moments=own, method=method, insulator=insulator, cutoff=cutoff)
    reference = {**reference, **_set(ledger=None if ledger is None else str(ledger))}
    return _energies(atoms, folder, {**given.get("mapping", {}), **options}, reference, where, 1 if workers is None else workers, progress)


def _set(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _tables(settings: AnyPath | dict[str, Any] | None, method: str | None) -> dict[str, Any]:
    if settings is None:
        return {}
    hint = "write one with [reference] and [mapping], [liechtenstein] or [tb2j]"
    given = dict(settings) if isinstance(settings, dict) else read_settings(settings, hint)
    source = "settings" if isinstance(settings, dict) else settings
    tables = {"tb2j": ("tb2j",), "liechtenstein": ("reference", "liechtenstein")}.get(str(method), ("reference", "mapping"))
    unknown = set(given) - set(tables)
    if unknown:
        raise BadInput(
            f"{source}: unknown table {quoted(', '.join(sorted(unknown)), 60)}; method {method or 'collinear'} reads {', '.join(tables)}"
        )
    odd = [name for name, table in given.items() if not isinstance(table, dict)]
    if odd:
        raise BadInput(f"{source}: {odd[0]} must be a table, as in [{odd[0]}]")
    return given


def _refuse_other_crystal(out: Path, atoms: Atoms, moments: Mapping[str, float]) -> None:
    """Raise `BadInput` if the folder holds couplings of another crystal, so that they are not overwritten."""
    path = out / "couplings.csv"
    if not path.exists():
        return
    if not path.is_file():
        raise BadInput(f"{out}: couplings.csv in this folder is not a file; choose another folder")
    try:
        there = read_table(path)
    except NucleateError:
        # A damaged table is overwritten.
        return
    here = atoms[[k for k, symbol in enumerate(atoms.get_chemical_symbols()) if moments.get(symbol)]]
    same = there.symbols == tuple(here.get_chemical_symbols()) and np.allclose(there.cell, atoms.cell.array, atol=1e-6)
    away = (there.positions - here.positions) @ np.linalg.inv(there.cell) if same else np.ones(3)
    if not same or np.abs(away - np.rint(away)).max() > 1e-6:
        raise BadInput(f"{out}: couplings.csv in this folder belongs to another crystal; choose another folder")


def _energies(
    atoms: Atoms, out: Path, mapping: dict[str, Any], reference: dict[str, Any], where: str, workers: int, progress: Progress
) -> Coupled:
    how = validated(MappingSettings, mapping, "options")
    engine = validated(ReferenceSettings, reference, where)
    if engine.engine in PRETRAINED:
        raise BadInput(
            f"{where}: energies of engine {engine.engine} do not depend on magnetic moments; choose an engine that supports spin states"
        )
    if "smearing" not in {*reference, *without_effect(engine.engine)}:
        # All states use the same smearing width, whatever the preset; engines with their own smearing parameters keep them.
        engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    _make_folder(out)
    with (
        ledger_file(out / "ledger.db") as own,
        shared_ledger(engine, owner_of(out / "ledger.db")) as shared,
        Dispatcher(make_reference(engine), own, workers=workers, timeout=engine.timeout, shared=shared) as dispatcher,
    ):
        mapped = map_couplings(atoms, how, dispatcher, progress)
    misfit = None if np.isnan(mapped.misfit) else mapped.misfit
    facts = {"misfit": misfit, "failures": mapped.failures, "notes": mapped.notes}
    return Coupled(mapped.couplings, _written(out, mapped.couplings), facts, len(mapped.states))


def _liechtenstein(atoms: Atoms, out: Path, how: dict[str, Any], reference: dict[str, Any], where: str, progress: Progress) -> Coupled:
    settings = validated(LiechtensteinSettings, how, "options and [liechtenstein]")
    engine = validated(ReferenceSettings, {"smearing": 0.1, **reference}, where)
    if engine.ledger is not None:
        raise BadInput(f"{where}: reference.ledger has no effect on method liechtenstein, whose states are kept in the folder; remove it")
    result = liechtenstein_couplings(atoms, settings, engine, out, progress)
    order = asdict(result.order)
    order["stiffness"] = None if order["stiffness"] is None else order["stiffness"].tolist()
    facts = {"moments": result.moments.tolist(), "mesh": result.mesh, "balance": result.balance.tolist(), "order": order}
    if result.anisotropy is not None:
        facts["anisotropy"] = result.anisotropy.tolist()
    return Coupled(result.couplings, _written(out, result.couplings), facts)


def _wannier(atoms: Atoms, out: Path, how: dict[str, Any], progress: Progress) -> Coupled:
    result = wannier_couplings(atoms, validated(WannierSettings, how, "[tb2j]"), out, progress)
    facts = {name: value for name, value in asdict(result).items() if name != "couplings"}
    return Coupled(result.couplings, _written(out, result.couplings), facts)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{out}: the folder cannot be created: {error.strerror}") from None


def _written(out: Path, couplings: Couplings) -> Path:
    path = out / "couplings.csv"
    write_whole(path, table_text(couplings))
    return path


def assign_shells(structure: Structure, moments: Mapping[str, float], strengths: Sequence[float]) -> Couplings:
    """Assign couplings to a crystal, shell by shell; see `nucleate.spins.shells.on_shells`.

    Args:
        structure: Crystal with magnetic atoms, or its file.
        moments: Moment of each magnetic element in Bohr magnetons.
        strengths: Couplings in meV, nearest shell first.
    """
    return on_shells(as_atoms(structure), dict(moments), strengths)


def convert(couplings: Couplings | AnyPath, out: AnyPath, cells: tuple[int, int, int] = (10, 10, 10)) -> list[str]:
    """Write couplings to a file; its suffix selects the format: .csv (table), .out (TB2J) or .cfg (Spirit).

    Args:
        couplings: Couplings, or their file.
        out: Output file.
        cells: Number of cells along each lattice vector (Spirit).

    Returns:
        What the format cannot store.

    Raises:
        BadInput: The suffix is unknown, the folder does not exist, or the couplings cannot be read.
    """
    path = Path(out)
    if not path.parent.is_dir():
        raise BadInput(f"{path}: the folder does not exist; create it first")
    if min(cells) < 1:
        raise BadInput(f"cells {cells[0]} {cells[1]} {cells[2]}: give at least one cell along each lattice vector")
    if path.suffix not in FORMATS:
        raise BadInput(f"{path}: unknown file format; use .csv (table), .out (TB2J) or .cfg (Spirit)")
    known = as_couplings(couplings)
    if path.suffix == ".csv":
        write_whole(path, table_text(known))
        return []
    lost = ["error bars"] if np.isfinite(known.errors).any() else []
    if path.suffix == ".cfg":
        write_whole(path, spirit_text(known, cells))
        return [*lost, "elements"]
    write_whole(path, tb2j_text(known))
    few = len(known.tensors) and np.abs(known.tensors).max() < FEW_DECIMALS
    return [*lost, "all digits (the format has four decimals of a meV)"] if few else lost
