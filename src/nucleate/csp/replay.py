"""Replay of a search: every decision is made again, and the ledger answers in the place of the reference."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.csp.events import RoundDone
from nucleate.csp.plan import Plan, prepare
from nucleate.csp.records import LoopState, RoundRecord
from nucleate.csp.run_data import RunData, database_in_memory, read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.stages import run_search
from nucleate.errors import BadInput, NucleateError, ReferenceFailed, RunFolderError, quoted
from nucleate.persist.toml import to_toml
from nucleate.progress import Event, Progress, silent
from nucleate.reference.base import Label, Reference, content_hash
from nucleate.reference.kpoints import KGrid
from nucleate.reference.ledger import RETRY, Ledger, LedgerRow

TIMES = ("seconds",)
"""Entries of a round's record that a replay does not repeat."""


class NotRecorded(NucleateError):
    """A replayed search asked for a calculation that its ledger does not contain."""

    def __init__(self, atoms: Atoms):
        super().__init__("the calculation is not in the ledger")
        self.atoms = atoms


class Recorded:
    """A reference that knows the calculations of a ledger and makes none.

    Args:
        reference: reference of the search, which chooses the k-points.
        rows: rows of the ledger.
        settings: settings with which they were calculated; None: those of the reference.
    """

    def __init__(self, reference: Reference, rows: Sequence[LedgerRow], settings: dict[str, Any] | None = None):
        self.name, self.surrogate = reference.name, reference.surrogate
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
            raise NotRecorded(atoms)
        answer = row.answer()
        if isinstance(answer, ReferenceFailed):
            raise answer
        return answer


@dataclass(frozen=True)
class Replay:
    """What a replay has shown.

    Attributes:
        rounds: number of rounds that were decided again.
        calls: number of calculations that the ledger answered.
        recorded: number of calculations in the ledger.
        divergence: first decision that differs, in words; None: all are the same.
        numbers: first recorded number that differs, in words; None: all are the same.
    """

    rounds: int
    calls: int
    recorded: int
    divergence: str | None
    numbers: str | None


class _LastRound(Exception):
    """The last saved round of a search that did not finish has been replayed."""


def replay(folder: Path | str, progress: Progress = silent) -> Replay:
    """Make every decision of a search again, in a temporary folder, with its ledger as the reference.

    On the processor, with the versions and the files of the search, the result is the same to the last digit. Elsewhere rounding changes
    the committees, and with time the structures that they choose.

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
    reference = plan.reference
    assert isinstance(reference, Recorded)

    records: list[RoundRecord] = []

    def watched(event: Event, /) -> None:
        progress(event)
        if isinstance(event, RoundDone):
            records.append(event.record)
            if run.state.finished is None and event.record.round >= run.state.round:
                raise _LastRound

    with tempfile.TemporaryDirectory(prefix="nucleate-replay-") as place:
        path = Path(place) / "run"
        missed: Atoms | None = None
        with RunFolder.create(path, to_toml(plan.settings)) as new:
            for kept in ("prior.jsonl", "teacher/prior.jsonl"):
                if (run.path / kept).exists():
                    (path / kept).parent.mkdir(exist_ok=True)
                    shutil.copy(run.path / kept, path / kept)
            try:
                run_search(new, plan, progress=watched)
            except _LastRound:
                pass
            except NotRecorded as miss:
                missed = miss.atoms
            state = new.loop_state() or LoopState()
            rows = list(new.ledger.rows())
    asked = [row for row in rows if row.status not in RETRY]
    # Calculations of a round that was not finished may be fewer, or those that were asked for again after a kill.
    recorded = [row for row in reference.rows.values() if run.state.finished is not None or row.round <= run.state.round]
    divergence = _first_difference(recorded, rows, missed)
    numbers = _first_number(run.state.records, records)
    if divergence is None and numbers is None and run.state.finished is not None:
        numbers = _last_difference(run.state, state)
    return Replay(len(records), len(asked), len(recorded), divergence, numbers)


def _recorded_plan(run: RunData) -> Plan:
    """Return the plan of a search with the rows of its ledgers in the place of its references."""
    # In this process, the order of calculations is that of the decisions.
    plan = prepare(run.settings.model_copy(update={"reference": run.settings.reference.model_copy(update={"workers": 0})}))
    if plan.reference.name != run.reference:
        raise BadInput(
            f"{run.path}: the calculations are by {quoted(run.reference)}, which was given in Python, and not by "
            f"{quoted(plan.reference.name)} of run.toml; such a search cannot be replayed"
        )
    accurate, teacher = plan.accurate, plan.teacher
    if accurate is not None:
        with closing(database_in_memory(run.path / "accurate.db")) as connection:
            accurate = Recorded(accurate, list(Ledger(connection).rows()))
    if teacher is not None and (run.path / "teacher" / "run.toml").exists():
        taught = read_run(run.path / "teacher", running=False)
        teacher = Recorded(teacher, taught.rows, taught.reference_settings)
    return Plan(plan.settings, Recorded(plan.reference, run.rows, run.reference_settings), accurate, teacher)


def _first_difference(recorded: Sequence[LedgerRow], rows: Sequence[LedgerRow], missed: Atoms | None) -> str | None:
    """Return the first calculation that only one of the two searches asked for, in words."""
    if missed is not None:
        (asked,) = [row for row in rows if row.status in RETRY][-1:]
        near = _nearest(missed, [row for row in recorded if row.round == asked.round])
        return f"round {asked.round} asks for a calculation ({asked.purpose}) that the ledger does not contain; {near}"
    mine = {row.hash: row for row in rows}
    for row in recorded:
        if row.hash not in mine:
            return f"calculation {row.number} of the ledger, of round {row.round} ({row.purpose}), is not asked for"
        now = mine[row.hash]
        if (now.round, now.purpose) != (row.round, row.purpose):
            before = f"calculation {row.number} of the ledger, of round {row.round} ({row.purpose})"
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


def _first_number(then: Sequence[RoundRecord], now: Sequence[RoundRecord]) -> str | None:
    """Return the first entry of the records of both searches that differs, in words."""
    for old, new in zip(then, now, strict=False):
        for field in fields(RoundRecord):
            before, after = getattr(old, field.name), getattr(new, field.name)
            if field.name in TIMES or _same(before, after):
                continue
            if isinstance(before, dict) and isinstance(after, dict):
                key = next(key for key in {**before, **after} if not _same(before.get(key), after.get(key)))
                return f"round {old.round}: {field.name}.{key} is {after.get(key)} and was {before.get(key)}"
            return f"round {old.round}: {field.name} is {after} and was {before}"
    return None


def _same(a: Any, b: Any) -> bool:
    """Return whether two entries are equal; NaN equals NaN."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)))


def _last_difference(then: LoopState, now: LoopState) -> str | None:
    """Return the first difference between the results of two finished searches, in words."""
    if then.finished != now.finished:
        return f"the search ends because {quoted(now.finished or 'of nothing', 120)}, and ended because {quoted(then.finished or '', 120)}"
    energies = [[float(polymorph.energy) for polymorph in state.ranking()] for state in (then, now)]
    if energies[0] != energies[1]:
        rank = next((k for k, pair in enumerate(zip(*energies, strict=False)) if pair[0] != pair[1]), min(map(len, energies)))
        return f"the rankings differ from rank {rank + 1} on"
    return None
