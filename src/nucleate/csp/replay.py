"""Replay of a search: every decision is made again, and the ledger answers in the place of the reference."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.csp.final_stages import STAGES, Until
from nucleate.csp.plan import Plan, prepare
from nucleate.csp.records import LoopState
from nucleate.csp.run_data import RunData, database_in_memory, read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.stages import run_search
from nucleate.errors import BadInput, NucleateError, ReferenceFailed, RunFolderError, quoted
from nucleate.persist.toml import to_toml
from nucleate.progress import Progress, silent
from nucleate.reference.base import Label, Reference, content_hash
from nucleate.reference.kpoints import KGrid
from nucleate.reference.ledger import RETRY, Ledger, LedgerRow

TIMES = ("seconds", "core_seconds")
"""Entries of a state that a replay does not repeat."""
OWN, TEACHER, ACCURATE = "the ledger", "the ledger of the teacher", "the ledger of the accurate energies"


class NotRecorded(NucleateError):
    """A replayed search asked for a calculation that a ledger does not contain."""

    def __init__(self, ledger: str, atoms: Atoms):
        super().__init__(f"{ledger} does not contain the calculation")
        self.ledger, self.atoms = ledger, atoms


class Recorded:
    """A reference that knows the calculations of a ledger and makes none.

    Args:
        reference: reference of the search, which chooses the k-points.
        rows: rows of the ledger.
        settings: settings with which they were calculated; None: those of the reference.
        ledger: name of the ledger in messages.
    """

    def __init__(self, reference: Reference, rows: Sequence[LedgerRow], settings: dict[str, Any] | None = None, ledger: str = OWN):
        self.name, self.surrogate, self.ledger = reference.name, reference.surrogate, ledger
        self._reference = reference
        self._settings = reference.settings() if settings is None else settings
        self.rows = {row.hash: row for row in rows if row.status not in RETRY}

    def settings(self) -> dict[str, Any]:
        """Return the settings of the calculations."""
        return self._settings

    def k_points(self, atoms: Atoms) -> KGrid | None:
        """Return the k-point grid that the reference chooses."""
        return self._reference.k_points(atoms)

    def label(self, atoms: Atoms) -> Label:
        """Return the recorded label, or raise the recorded failure.

        Raises:
            NotRecorded: there is no such calculation.
        """
        row = self.rows.get(content_hash(atoms, self._settings))
        if row is None:
            raise NotRecorded(self.ledger, atoms)
        answer = row.answer()
        if isinstance(answer, ReferenceFailed):
            raise answer
        return answer


class FoundBefore:
    """A shared ledger that knows what a search found in one, and takes nothing in.

    Args:
        rows: rows that the search found.
    """

    def __init__(self, rows: Sequence[LedgerRow]):
        self._answers = {row.hash: row.answer() for row in rows}

    def find(self, tasks: dict[str, Atoms]) -> dict[str, Label | ReferenceFailed]:
        """Return what the search found."""
        return {key: self._answers[key] for key in tasks if key in self._answers}

    def claim(self, tasks: dict[str, Atoms], reference: str, settings: dict[str, Any]) -> set[str]:
        """Grant every claim."""
        return set(tasks)

    def unknown(self, keys: Iterable[str]) -> set[str]:
        """Say that nothing is missing."""
        return set()

    def begin(self, key: str) -> bool:
        """Agree."""
        return True

    def withdraw(self, keys: Sequence[str]) -> None:
        """Do nothing."""

    def finish(self, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> None:
        """Do nothing."""

    def release(self, keys: Sequence[str]) -> None:
        """Do nothing."""

    def publish(self, *result: Any) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Replay:
    """What a replay has shown.

    Attributes:
        rounds: number of rounds that were decided again.
        calls: number of calculations that the ledgers answered, those of a teacher and of the accurate energies among them.
        recorded: number of calculations in these ledgers that belong to what was decided again.
        divergence: first decision that differs, in words; None: all are the same.
        numbers: first recorded number that differs, in words; None: all are the same.
    """

    rounds: int
    calls: int
    recorded: int
    divergence: str | None
    numbers: str | None


def replay(folder: Path | str, progress: Progress = silent) -> Replay:
    """Make every decision of a search again, in a temporary folder, with its ledgers as the references.

    On the processor, with the versions and the files of the search, the result is the same to the last digit. Elsewhere rounding changes
    the committees, and with time the structures that they choose. What a search did under earlier limits of calls and rounds is decided
    under these limits.

    Args:
        folder: run folder of a search; it is read and not changed.
        progress: called with the events of the replayed search.

    Raises:
        RunFolderError: the folder contains no round of a search, or is damaged.
        BadInput: the reference was given in Python and not by the settings, or a file that the search read is missing.
    """
    run = read_run(Path(folder))
    if not run.state.records:
        raise RunFolderError(f"{run.path}: has no finished round that could be replayed")
    plan = _recorded_plan(run)
    ends = _ends(run)
    with tempfile.TemporaryDirectory(prefix="nucleate-replay-") as place:
        path = Path(place) / "run"
        missed: NotRecorded | None = None
        for number, (limits, until) in enumerate(ends):
            last = number == len(ends) - 1
            missed, state = _go_on(run, path, replace(plan, settings=_limited(plan, limits)), until, progress)
            if missed is not None and not last and state.finished is not None:
                # The stages after an earlier end may have been interrupted; the search went on from its rounds.
                missed = None
            if missed is not None:
                break
        asked = {
            OWN: _rows(path / "run.db"), TEACHER: _rows(path / "teacher" / "run.db"), ACCURATE: _rows(path / "accurate.db"),
        }  # fmt: skip
    missing = [stage for stage in STAGES if getattr(run.state, stage) is None] if run.state.finished is not None else list(STAGES)
    recorded = {
        reference.ledger: [row for row in reference.rows.values() if reference.ledger != OWN or _decided(row, run, missing)]
        for reference in (plan.reference, plan.teacher, plan.accurate)
        if isinstance(reference, Recorded) and (reference.ledger != ACCURATE or run.state.accurate is not None)
    }
    divergence = _first_difference(recorded, asked, missed)
    numbers = _first_number(run.state.as_dict(), state.as_dict()) if divergence is None else None
    answered = [row for rows in asked.values() for row in rows if row.status not in RETRY]
    return Replay(len(state.records), len(answered), sum(map(len, recorded.values())), divergence, numbers)


def _recorded_plan(run: RunData) -> Plan:
    """Return the plan of a search with the rows of its ledgers in the place of its references."""
    # In this process, the order of calculations is that of the decisions.
    alone = {"workers": 0, "ledger": None}
    plan = prepare(run.settings.model_copy(update={"reference": run.settings.reference.model_copy(update=alone)}))
    if plan.reference.name != run.reference:
        raise BadInput(
            f"{run.path}: the calculations are by {quoted(run.reference)}, which was given in Python, and not by "
            f"{quoted(plan.reference.name)} of run.toml; such a search cannot be replayed"
        )
    accurate, teacher = plan.accurate, plan.teacher
    of_accurate = [] if accurate is None else _rows(run.path / "accurate.db")
    if accurate is not None:
        accurate = Recorded(accurate, of_accurate, ledger=ACCURATE)
    if teacher is not None:
        if not (run.path / "teacher" / "run.toml").exists():
            raise BadInput(f"{run.path}: the folder teacher, with the search on {quoted(teacher.name)}, is missing; it cannot be replayed")
        taught = read_run(run.path / "teacher", running=False)
        teacher = Recorded(teacher, taught.rows, taught.reference_settings, TEACHER)
    rows = [row for row in [*run.rows, *of_accurate] if row.found]
    found = FoundBefore(rows) if rows else None
    return Plan(plan.settings, Recorded(plan.reference, run.rows, run.reference_settings), accurate, teacher, found)


def _ends(run: RunData) -> list[tuple[tuple[int, int], Until]]:
    """Return budget and number of rounds of each part of a search, and where the part ended."""
    search = run.settings.search
    limits = [(limit.round, (limit.budget, limit.max_rounds)) for limit in run.limits] or [(-1, (search.budget, search.max_rounds))]
    if limits[-1][1] != (search.budget, search.max_rounds):
        # run.toml was changed since the search last ran.
        limits[-1] = limits[-1][0], (search.budget, search.max_rounds)
    done = tuple(stage for stage in STAGES if getattr(run.state, stage) is not None)
    parts = [(limit, Until(following[0])) for (_, limit), following in pairwise(limits)]
    return [*parts, (limits[-1][1], Until(run.state.round, done if run.state.finished is not None else ()))]


def _limited(plan: Plan, limits: tuple[int, int]) -> Any:
    """Return the settings with other limits."""
    search = plan.settings.search.model_copy(update={"budget": limits[0], "max_rounds": limits[1]})
    return plan.settings.model_copy(update={"search": search})


def _go_on(run: RunData, path: Path, plan: Plan, until: Until, progress: Progress) -> tuple[NotRecorded | None, LoopState]:
    """Replay a part of a search; return the first calculation that is missing, and the state."""
    toml = to_toml(plan.settings)
    if (path / "run.toml").exists():
        (path / "run.toml").write_text(toml, encoding="utf-8")
    with RunFolder.create(path, toml) as new:
        if (run.path / "prior.jsonl").exists() and not (path / "prior.jsonl").exists():
            shutil.copy(run.path / "prior.jsonl", path / "prior.jsonl")
        missed = None
        try:
            run_search(new, plan, progress=progress, until=until)
        except NotRecorded as miss:
            missed = miss
        return missed, new.loop_state() or LoopState()


def _rows(path: Path) -> list[LedgerRow]:
    """Return the rows of a ledger; none if the file does not exist."""
    with closing(database_in_memory(path)) as connection:
        return list(Ledger(connection, path).rows())


def _decided(row: LedgerRow, run: RunData, missing: Sequence[str]) -> bool:
    """Return whether a calculation belongs to what a replay decides, and not to an unfinished round or stage."""
    if row.purpose in ("magnetic", "proof"):
        return row.purpose not in missing
    return run.state.finished is not None or row.round <= run.state.round


def _first_difference(recorded: dict[str, list[LedgerRow]], asked: dict[str, list[LedgerRow]], missed: NotRecorded | None) -> str | None:
    """Return the first calculation that only one of the two searches asked for, in words."""
    if missed is not None:
        open_rows = [row for row in asked[missed.ledger] if row.status in RETRY]
        where = (
            f"round {open_rows[-1].round} asks for a calculation ({open_rows[-1].purpose})" if open_rows else "it asks for a calculation"
        )
        rows = [row for row in recorded.get(missed.ledger, []) if not open_rows or row.round == open_rows[-1].round]
        return f"{where} that {missed.ledger} does not contain; {_nearest(missed.atoms, rows)}"
    for ledger, rows in recorded.items():
        mine = {row.hash: row for row in asked[ledger]}
        for row in rows:
            before = f"calculation {row.number} of {ledger}, of round {row.round} ({row.purpose})"
            if row.hash not in mine:
                return f"{before}, is not asked for"
            now = mine[row.hash]
            if (now.round, now.purpose) != (row.round, row.purpose):
                return f"{before}, belongs to round {now.round} ({now.purpose})"
    return None


def _nearest(atoms: Atoms, rows: Sequence[LedgerRow]) -> str:
    """Return the distance of the most similar recorded structure of the same round, in words."""
    distances = [
        max(np.abs(row.atoms.positions - atoms.positions).max(), np.abs(row.atoms.cell.array - atoms.cell.array).max())
        for row in rows
        if np.array_equal(row.atoms.numbers, atoms.numbers)
    ]
    if not distances:
        return "no structure of that round has its atoms"
    return f"coordinates of the most similar one of that round differ by up to {min(distances):.2g} Å"


def _first_number(then: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Return the first entry of the states of both searches that differs, in words; the rounds come first."""
    order = ["records", *(key for key in then if key != "records")]
    stored = json.loads(json.dumps([{key: state[key] for key in order} for state in (then, now)]))
    return _difference(stored[0], stored[1], "")


def _difference(then: Any, now: Any, place: str) -> str | None:
    """Return the place of the first difference of two JSON values and both values, in words."""
    if isinstance(then, dict) and isinstance(now, dict):
        pairs = [(key, then.get(key), now.get(key)) for key in {**then, **now} if key not in TIMES]
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        pairs = [(str(k), old, new) for k, (old, new) in enumerate(zip(then, now, strict=True))]
    elif then == now or (isinstance(then, float) and isinstance(now, float) and math.isnan(then) and math.isnan(now)):
        return None
    else:
        return f"{place} is {quoted(json.dumps(now), 60)} and was {quoted(json.dumps(then), 60)}"
    return next((text for key, old, new in pairs if (text := _difference(old, new, f"{place}.{key}" if place else key)) is not None), None)
