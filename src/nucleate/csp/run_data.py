"""Read access to a run folder without its lock, through a copy of the database."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.crystals.clusters import extent
from nucleate.crystals.dimensions import is_cluster, is_layer
from nucleate.crystals.formula import formula_text
from nucleate.crystals.layers import area, thickness
from nucleate.csp.executor_file import blocks_data
from nucleate.csp.minima.coverage import expected_number, unseen_probability
from nucleate.csp.molecular.report_data import lattice_energy, molecules_data
from nucleate.csp.records import SPENT, LoopState, Polymorph, enthalpy_per_atom, lowest_enthalpy, out_of_rounds
from nucleate.csp.run_folder import VERSION, RunFolder
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.csp.saved import SavedLimit, SavedReference
from nucleate.csp.systems.hull import Hull
from nucleate.csp.systems.phases import EQUAL, Phase, formula_of, phases, warnings_on
from nucleate.errors import RunFolderError
from nucleate.fingerprints.matching import standard_cell
from nucleate.generate.clusters import SWELLING, diameter_of
from nucleate.persist.json_data import SCHEMA, finite
from nucleate.persist.locks import is_locked
from nucleate.persist.toml import read_settings
from nucleate.reference.build import without_effect
from nucleate.reference.ledger import MOLECULE, PAID, LedgerRow, database_errors, of_an_order
from nucleate.reference.settings import ENGINES


@dataclass
class RunData:
    """Contents of a run folder at one moment.

    Attributes:
        path: the folder.
        settings: resolved settings.
        toml: text of run.toml.
        state: state of the loop after the last finished round.
        rows: rows of the ledger.
        statuses: number of ledger rows of each status, including `running`, without those found in a shared ledger.
        running: whether a process is working on the run.
        reference: name of the reference.
        surrogate: whether the reference is a surrogate.
        pending: polymorphs confirmed in the current round, as events.
        teacher: summary of the search on the teacher, see `events.TeacherDone`; None: there is none, or it has not ended.
        molecules: summaries of the isolated molecules, see `events.MoleculeFitted`.
        reference_settings: settings of the reference that its calculations have; None: they were not stored.
        versions: versions of the programs at the start, and each time that they changed; empty: they were not stored.
        limits: budget and number of rounds at the start, and each time that they were changed.
    """

    path: Path
    settings: RunSettings
    toml: str
    state: LoopState
    rows: list[LedgerRow]
    statuses: dict[str, int]
    running: bool
    reference: str
    surrogate: bool
    pending: list[dict[str, Any]] = field(default_factory=list)
    teacher: dict[str, Any] | None = None
    molecules: list[dict[str, Any]] = field(default_factory=list)
    reference_settings: dict[str, Any] | None = None
    versions: list[dict[str, str]] = field(default_factory=list)
    limits: list[SavedLimit] = field(default_factory=list)

    @property
    def crystals(self) -> list[LedgerRow]:
        """Rows of the ledger without those of isolated molecules and of magnetic orders other than that of the search."""
        return [row for row in self.rows if row.purpose != MOLECULE and not of_an_order(row)]

    @property
    def calls(self) -> int:
        """Number of reference calls."""
        return sum(row.is_call for row in self.rows)

    @property
    def found(self) -> int:
        """Number of calculations that were found in a ledger that other searches share."""
        return sum(row.found for row in self.rows)

    @property
    def status(self) -> str:
        """`running`, `finished` or `stopped`."""
        proven = self.state.proof is not None or not (self.settings.search.proof and any(p.own for p in self.state.minima()))
        if self.state.finished is not None and proven:
            return "finished"
        return "running" if self.running else "stopped"


def read_run(path: Path | str | os.PathLike[str], running: bool | None = None) -> RunData:
    """Read a run folder, also while a search is running in it.

    Args:
        path: path of the folder.
        running: whether a process is working on the run; None checks its lock (which does not detect a lock of this process).

    Raises:
        RunFolderError: the folder is not a run folder, was written by a newer version, or is damaged.
        BadInput: run.toml cannot be read.
    """
    path = Path(path)
    toml = path / "run.toml"
    if not toml.is_file():
        hint = f"start one with: nucleate search FORMULA --out {path}"
        raise RunFolderError(f"{path}: is not a run folder (run.toml is missing); {hint}")
    # The copy is opened as a run folder, so that the same code reads both, and nothing is written to the disk.
    memory = database_in_memory(path / "run.db")
    with database_errors(path / "run.db"):
        layout = memory.execute("PRAGMA user_version").fetchone()[0]
    if layout > VERSION:
        memory.close()
        raise RunFolderError(f"{path}: written by a newer nucleate (layout {layout}, this one supports {VERSION}); update nucleate")
    # Settings are read after the check of the version, because a newer run may have unknown settings.
    settings = settings_from_dict(read_settings(toml), str(toml))
    statuses = _statuses(memory, path / "run.db")
    with RunFolder(path, memory, os.open(os.devnull, os.O_RDONLY)) as folder:
        state = folder.loop_state() or LoopState()
        rows = list(folder.ledger.rows())
        taught, alone, versions, limits = folder.teacher(), folder.molecules(), folder.versions(), folder.limits()
        engine = settings.reference.engine
        reference = folder.reference() or SavedReference(name=engine, surrogate=engine not in ENGINES)
        known = {(round(p.energy, 9), p.calls) for p in state.polymorphs}
        pending = {(round(event.energy, 9), event.calls): event for event in folder.polymorph_events() if event.round > state.round}
    return RunData(
        path, settings, toml.read_text(encoding="utf-8-sig"), state, rows, statuses,
        is_locked(path / "lock") if running is None else running,
        reference.name, reference.surrogate,
        [event.model_dump() for key, event in pending.items() if key not in known],
        None if taught is None else taught.model_dump(),
        [item.model_dump() for item in alone],
        reference.settings, versions, limits,
    )  # fmt: skip


def database_in_memory(path: Path) -> sqlite3.Connection:
    """Return a copy of a database in memory, which is empty if the file does not exist."""
    memory = sqlite3.connect(":memory:", isolation_level=None)
    if not path.exists():
        return memory
    log = path.with_name(path.name + "-wal")
    with database_errors(path):
        if not (log.exists() or is_locked(path.with_name("lock"))):
            # No process is writing, so the file is opened as immutable, for which SQLite creates no shared-memory files.
            with contextlib.suppress(sqlite3.DatabaseError):
                _copy(path, memory, "immutable=1")
                return memory
        try:
            _copy(path, memory, "mode=ro")
        except sqlite3.OperationalError:
            # SQLite cannot create the shared-memory file of a write-ahead log in a read-only folder.
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(shutil.copy(path, folder))
                if log.exists():
                    shutil.copy(log, folder)
                _copy(copy, memory, "mode=ro")
    return memory


def _copy(path: Path, memory: sqlite3.Connection, how: str) -> None:
    """Copy a database to `memory`; `how` is the query of its URI."""
    source = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=30.0)
    try:
        source.backup(memory)
    finally:
        source.close()


def _statuses(db: sqlite3.Connection, path: Path) -> dict[str, int]:
    """Return the number of rows of each status."""
    with database_errors(path):
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name='ledger'").fetchone():
            return {}
        found = {row[1] for row in db.execute("PRAGMA table_info(ledger)")} & {"found"}
        paid = f"WHERE {PAID}" if found else ""
        return dict(db.execute(f"SELECT status, COUNT(*) FROM ledger {paid} GROUP BY status ORDER BY status").fetchall())


def difference(one: Polymorph, other: Polymorph) -> float:
    """Return the energy of a polymorph minus that of another, eV/atom; with accurate energies if both have one."""
    if one.accurate is not None and other.accurate is not None:
        return one.accurate - other.accurate
    return one.height - other.height


def unresolved(ranking: list[Polymorph], resolution: float) -> list[list[int]]:
    """Return for each rank the other ranks (from 1) whose energy differs by less than `resolution`, meV/atom."""
    return [
        [j + 1 for j, other in enumerate(ranking) if j != k and abs(difference(mine, other)) * 1e3 < resolution]
        for k, mine in enumerate(ranking)
    ]


def not_resolved_text(ranks: list[int], own: int) -> str:
    """Return text such as `not resolved from rank 1, 2` with the better ranks only, so that each pair is named once."""
    better = [str(rank) for rank in ranks if rank < own]
    return f"not resolved from rank {', '.join(better)}" if better else ""


def lower_label_text(data: dict[str, Any]) -> str:
    """Return advice if the energy of a label is below rank 1, else an empty text; `data` is the result of `show_data`."""
    if data["hull"] is not None:
        lowest = data["hull"]["lowest_label"]
        below, what = (-math.inf if lowest is None else -lowest), "the hull"
    else:
        best, lowest = (p["energy"] for p in data["polymorphs"][:1]), data["lowest_label"]
        below, what = 1e3 * (next(best, -math.inf) - (math.inf if lowest is None else lowest)), "rank 1"
    if below <= data["resolution"]:
        return ""
    text = f"a structure that is not relaxed yet is {below:.0f} meV/atom below {what}: the ranking is not final"
    if data["status"] != "finished":
        return text
    if data["finished"] == SPENT:
        return f"{text}; continue with: nucleate resume {data['folder']} --budget {2 * data['budget']}"
    if data["finished"] == out_of_rounds(data["round"]):
        return f"{text}; raise search.max_rounds in {data['folder']}/run.toml, then: nucleate resume {data['folder']}"
    return f"{text}; start another search with a larger search.pool or another seed"


def _searched(run: RunData) -> list[LedgerRow]:
    """Return the labels of crystals, without clusters that are larger than the search allows."""
    if run.settings.dimensions:
        return run.crystals
    limit = diameter_of(run.settings.counts, run.settings.clusters.diameter, run.settings.generate) + SWELLING
    return [row for row in run.crystals if extent(row.atoms.positions) <= limit]


def structure_name(rank: int, polymorph: Polymorph) -> str:
    """Return the file name of a polymorph without suffix: rank, space group, energy in eV/atom."""
    symbol = polymorph.space_group.replace("/", "_")
    return f"{rank:02d}_{symbol}_{polymorph.energy:.4f}"


def package_version() -> str:
    """Return the version of the installed package."""
    try:
        return version("nucleate")
    except PackageNotFoundError:
        return "unknown"


def show_data(run: RunData) -> dict[str, Any]:
    """Return the data of `nucleate show --json`, described in docs/json.md, with null in place of NaN."""
    settings, state = run.settings, run.state
    ranking = state.ranking()
    close = unresolved(ranking, settings.search.resolution)
    places = None if settings.system is None else phases(settings.system, ranking, settings.search.resolution * 1e-3)
    if settings.system is not None:
        # Only phases of the same composition compete for one place.
        formulas = [formula_of(settings.system, polymorph.atoms) for polymorph in ranking]
        close = [[rank for rank in ranks if formulas[rank - 1] == formulas[k]] for k, ranks in enumerate(close)]
    molecules = molecules_data(settings.molecules, run.molecules) if settings.molecules.molecule else None
    polymorphs = []
    for k, polymorph in enumerate(ranking):
        cell = standard_cell(polymorph.atoms)
        polymorphs.append(
            {
                "rank": k + 1,
                "formula": formula_text(dict(Counter(polymorph.atoms.get_chemical_symbols()))),
                "atoms": len(polymorph.atoms),
                "space_group": polymorph.space_group,
                "space_group_number": None if is_cluster(polymorph.atoms) else polymorph.number,
                "energy": polymorph.energy,
                "accurate_energy": polymorph.accurate,
                "above_best": 1e3 * (difference(polymorph, ranking[0]) if places is None else places[k].above),
                "hull": None if places is None else phase_data(places[k]),
                "known": polymorph.known,
                "compound": polymorph.compound,
                "lattice_energy": None if molecules is None else lattice_energy(polymorph, molecules),
                "area": area(polymorph.atoms) if is_layer(polymorph.atoms) else None,
                "thickness": thickness(polymorph.atoms) if is_layer(polymorph.atoms) else None,
                "volume": None if is_cluster(polymorph.atoms) else polymorph.atoms.get_volume() / len(polymorph.atoms),
                "extent": extent(polymorph.atoms.positions) if is_cluster(polymorph.atoms) else None,
                "sigma": 1e3 * polymorph.sigma,
                "check": polymorph.check,
                **magnetic_data(polymorph),
                "not_resolved_from": close[k],
                "fmax": polymorph.fmax,
                "smax": polymorph.smax,
                "origin": polymorph.origin,
                "found": polymorph.found,
                "calls": polymorph.calls,
                "own_calls": polymorph.own_calls,
                "round": polymorph.round,
                "conventional_cell": [float(x) for x in cell.cell.cellpar()],
                "file": f"structures/{structure_name(k + 1, polymorph)}.cif",
            }
        )
    content = {
        "schema": SCHEMA,
        "nucleate": package_version(),
        "folder": str(run.path),
        "formula": settings.name,
        "dimensions": settings.dimensions,
        "pressure": settings.pressure,
        "reference": {
            "name": run.reference,
            "engine": settings.reference.engine,
            "preset": None if "preset" in without_effect(settings.reference.engine) else settings.reference.preset,
            "surrogate": run.surrogate,
        },
        "teacher": None if run.teacher is None else {**run.teacher, "minima": [list(minimum) for minimum in run.teacher["minima"]]},
        "teacher_error": state.base,
        "seed": settings.seed,
        "versions": run.versions,
        "status": run.status,
        "finished": state.finished,
        "round": state.round if state.round >= 0 else None,
        "calls": run.calls,
        "found_labels": run.found,
        "budget": settings.search.budget,
        "calls_by_status": run.statuses,
        "calls_by_purpose": dict(Counter(row.purpose for row in run.rows if row.is_call))
        | ({} if state.accurate is None else {"accurate": state.accurate["calls"]}),
        "core_seconds": sum(row.core_seconds for row in run.rows),
        "blocks": blocks_data(run.path),
        "wall_seconds": wall_seconds(run.state),
        "resolution": settings.search.resolution,
        "lowest_label": None
        if settings.system is not None
        else lowest_enthalpy(_searched(run), sum(settings.counts.values()), settings.pressure),
        "polymorphs": polymorphs,
        "confirmed_in_this_round": [{key: event[key] for key in ("energy", "space_group", "calls", "round")} for event in run.pending],
        "hull": None if settings.system is None else hull_data(run, ranking, places),
        "minima": minima_data(run),
        "molecules": molecules,
        "accurate": state.accurate,
        "magnetic": state.magnetic,
        "warnings": warnings_on(settings.system or settings.counts, None if run.surrogate else settings.reference.magnetic_moments),
        "proof": state.proof,
        "rounds": [record.as_dict() for record in state.records],
    }
    return finite(content)


def magnetic_data(polymorph: Polymorph) -> dict[str, Any]:
    """Return the moments and orders of a polymorph as JSON data, energies in eV/atom and meV/atom."""
    magnetic = polymorph.magnetic
    if magnetic is None:
        return {"magnetic_order": None, "moment": None, "net_moment": None, "magnetic_orders": []}
    best = min((entry.lowest for entry in magnetic.orders if entry.lowest is not None), default=math.inf)
    orders = [
        {
            "name": entry.name,
            "energy": entry.lowest,
            "above_lowest": None if entry.lowest is None else 1e3 * (entry.lowest - best),
            "relaxed": entry.relaxed is not None,
            "ended": entry.ended or None,
            "moment": entry.moment,
            "net_moment": entry.net,
            "failure": entry.failure or None,
        }
        for entry in magnetic.orders
    ]
    return {"magnetic_order": magnetic.order, "moment": magnetic.moment, "net_moment": magnetic.net, "magnetic_orders": orders}


def phase_data(phase: Phase) -> dict[str, Any]:
    """Return the place of a polymorph on the hull as JSON data, energies in meV/atom."""
    return {
        "formula": phase.formula,
        "fractions": phase.fractions.tolist(),
        "formation_energy": 1e3 * phase.formation,
        "above": 1e3 * phase.above,
        "error": 1e3 * phase.error,
        "reaction": phase.reaction,
        "gain": None if phase.gain is None else 1e3 * phase.gain,
    }


def minima_data(run: RunData) -> dict[str, Any] | None:
    """Return how complete the minima within the window are, as JSON data; None for other goals."""
    window = run.settings.minima.window
    if window is None:
        return None
    minima = run.state.minima()
    met = [polymorph.met for polymorph in minima if polymorph.energy <= minima[0].energy + 1e-3 * window]
    return {
        "window": window,
        "found": len(met),
        "met": met,
        "unseen": unseen_probability(met),
        "expected": expected_number(met),
    }


def hull_data(run: RunData, ranking: list[Polymorph], places: list[Phase] | None) -> dict[str, Any]:
    """Return the hull of a chemical system as JSON data.

    Args:
        run: the run.
        ranking: its polymorphs.
        places: their places on the hull; None: an end member is not confirmed.
    """
    settings = run.settings
    assert settings.system is not None
    have = {formula_of(settings.system, polymorph.atoms) for polymorph in ranking if polymorph.check != "saddle"}
    members = [settings.system.formula(member) for member in settings.system.end_members]
    on = [
        k + 1 for k, (p, phase) in enumerate(zip(ranking, places or [], strict=bool(places))) if phase.above < EQUAL and p.check != "saddle"
    ]
    moments = None if run.surrogate else settings.reference.magnetic_moments
    return {
        "end_members": members,
        "missing": [member for member in members if member not in have],
        "max_atoms": settings.hull.max_atoms,
        "phases": on,
        "chance": run.state.chance,
        "too_large": [f"{p.known}, {len(p.atoms)} atoms" for p in ranking if p.known and len(p.atoms) > settings.hull.max_atoms],
        "left_out": run.state.left_out,
        "lowest_label": None if places is None else 1e3 * label_height(run, ranking),
        "warnings": warnings_on(settings.system, moments),
    }


def label_height(run: RunData, ranking: list[Polymorph]) -> float:
    """Return the height of the label that is lowest relative to the hull of the confirmed phases, eV/atom; negative below it."""
    system = run.settings.system
    assert system is not None
    sound = [polymorph for polymorph in ranking if polymorph.check != "saddle"]
    hull = Hull(system.fractions(system.counts([p.atoms for p in sound])), [p.energy for p in sound])
    rows = [(row.atoms, row.label) for row in run.rows if row.label is not None and row.purpose != "known" and system.contains(row.atoms)]
    if not rows:
        return math.inf
    energies = np.array([enthalpy_per_atom(atoms, label, run.settings.pressure) for atoms, label in rows])
    return float(hull.above(system.fractions(system.counts([atoms for atoms, _ in rows])), energies).min())


def wall_seconds(state: LoopState) -> dict[str, float]:
    """Return the wall time of each phase, summed over all finished rounds, and of the proof, s."""
    spent: Counter[str] = Counter()
    for record in state.records:
        spent.update(record.seconds)
    if state.proof is not None:
        spent["proof"] = state.proof.get("seconds", 0.0)
    return {phase: round(seconds, 2) for phase, seconds in spent.items()}
