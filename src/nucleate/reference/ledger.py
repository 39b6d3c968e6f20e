"""The ledger, a table of every reference calculation in the SQLite file of the run.

The number of its rows is the cost of a search, without those whose result was found in a ledger that other searches share. A row is
written when a calculation starts and completed when it ends, so a killed process loses at most the calculations that were running.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from nucleate.errors import BadInput, ReferenceFailed, RunFolderError, StorageFailed, quoted
from nucleate.persist.locks import lock_file
from nucleate.reference.base import Label, checked_answer, has_moments
from nucleate.reference.cluster.blocks import note_label
from nucleate.reference.spool import BLOCKS, forget_kept, keep_beside, kept_answers, kept_files, set_aside, spool_of

_TABLE = """
CREATE TABLE IF NOT EXISTS ledger (
    id INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    asked REAL NOT NULL,
    reference TEXT NOT NULL,
    settings TEXT NOT NULL,
    numbers BLOB NOT NULL, cell BLOB NOT NULL, positions BLOB NOT NULL,
    status TEXT NOT NULL,
    reason TEXT,
    energy REAL, forces BLOB, stress BLOB,
    iterations INTEGER, core_seconds REAL, wall_seconds REAL,
    attempts INTEGER NOT NULL DEFAULT 1,
    purpose TEXT NOT NULL, round INTEGER NOT NULL,
    details TEXT,
    moments BLOB,
    found INTEGER NOT NULL DEFAULT 0
)
"""
_ADDED = {"moments": "BLOB", "found": "INTEGER NOT NULL DEFAULT 0"}
"""Columns that ledgers of earlier versions lack."""
RETRY = ("running", "interrupted")
"""Statuses of rows without a result; such a calculation is repeated in the same row."""
PAID = "(NOT found AND attempts > 0)"
"""SQL condition of the rows that are calls of the search."""
MAGNETIC = "magnetic"
"""Purpose of the calculations of magnetic orders after a search."""
MOLECULE = "molecule"
"""Purpose of the calculations of isolated molecules before a search."""
PATIENCE = (0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts to record a result while the disk is full or the database is locked."""


@dataclass(frozen=True)
class LedgerRow:
    """Row of the ledger.

    Attributes:
        number: position in the order of calls, starting at 1.
        hash: hash of structure and settings, see `content_hash`.
        atoms: the structure.
        status: `ok`, `failed`, `unconverged`, `timeout`, `invalid` (the result is not a valid label), `running` or `interrupted`.
        reason: message of the engine if the calculation failed.
        label: result if `status` is `ok`.
        core_seconds, wall_seconds: CPU and wall time, s.
        attempts: number of times the calculation was handed out; a worker that was lost may not have begun it.
        purpose: purpose of the calculation, such as `explore` or `confirm`.
        round: round of the search.
        found: whether the result was found in a shared ledger, so that it cost the search nothing.
    """

    number: int
    hash: str
    atoms: Atoms
    status: str
    reason: str | None
    label: Label | None
    core_seconds: float
    wall_seconds: float
    attempts: int
    purpose: str
    round: int
    found: bool = False

    @property
    def is_call(self) -> bool:
        """Whether the row is a call of the search: it was handed out, and not found in a shared ledger."""
        return not self.found and self.attempts > 0

    def answer(self) -> Label | ReferenceFailed:
        """Return the label, or the recorded failure."""
        return self.label if self.label is not None else ReferenceFailed(self.reason or "", kind=self.status)


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the SQLite file of a run, with every commit durable.

    Raises:
        RunFolderError: the file is not a database, damaged or read-only.
        StorageFailed: the disk is full.
    """
    with database_errors(path):
        connection = sqlite3.connect(path, timeout=30.0, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection


@contextmanager
def ledger_file(path: Path) -> Iterator[Ledger]:
    """Context that opens a ledger in a separate file, locked against other processes.

    Raises:
        BadInput: the file is the database of a search, whose calls count against the budget and train its model.
        RunFolderError: another process uses the file, or it is not a database.
        StorageFailed: the disk is full.
    """
    lock = lock_file(path, f"{path}: another process is using this ledger; wait for it or name another file")
    try:
        connection = open_database(path)
        try:
            with database_errors(path):
                if connection.execute("SELECT 1 FROM sqlite_master WHERE name='state'").fetchone():
                    raise BadInput(f"{path}: the file is the database of a search; name another file as the ledger")
            yield Ledger(connection)
        finally:
            connection.close()
    finally:
        os.close(lock)


class database_errors:
    """Context that converts SQLite's errors to `RunFolderError` or `StorageFailed` with the name of the file."""

    def __init__(self, path: Path | str):
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            text = str(error)
            hint = "is the file complete?"
            if "full" in text or "I/O error" in text:
                raise StorageFailed(f"{self.path}: {text}; free some disk space and resume; nothing recorded so far is lost") from error
            if "readonly" in text or "unable to open" in text:
                hint = "is the folder writable?"
            elif "locked" in text:
                hint = "another process is using it"
            raise RunFolderError(f"{self.path}: {quoted(text)}; {hint}") from error
        if isinstance(error, UnicodeDecodeError):
            # SQLite's messages repeat damaged names, which Python cannot decode.
            raise RunFolderError(f"{self.path}: contains text that is not UTF-8; the file is damaged") from error
        if isinstance(error, OSError):
            raise RunFolderError(f"{self.path}: cannot be read: {error.strerror}; is it the file of a search?") from error


class Ledger:
    """The ledger table of a run's database.

    Results that could not be recorded earlier and were kept in files beside the database are recorded when the ledger is opened.

    Args:
        path: SQLite file, or an open connection to it.
        name: file that messages name; None: that of the connection, which a copy in memory does not have.
    """

    def __init__(self, path: Path | str | sqlite3.Connection, name: Path | None = None):
        self._db = path if isinstance(path, sqlite3.Connection) else open_database(Path(path))
        self._path = self._db.execute("PRAGMA database_list").fetchone()[2]
        self._name = name if name is not None else self._path
        with database_errors(self._name):
            self._db.execute(_TABLE)
            present = {row[1] for row in self._db.execute("PRAGMA table_info(ledger)")}
            for column in _ADDED.keys() - present:
                self._db.execute(f"ALTER TABLE ledger ADD COLUMN {column} {_ADDED[column]}")
            self._db.execute("UPDATE ledger SET status='interrupted' WHERE status='running'")
        self.collect()

    @property
    def spool(self) -> Path | None:
        """Folder into which workers write finished results, which `collect` records; None: the database is not in a file.

        Raises:
            StorageFailed: the folder cannot be created.
        """
        return spool_of(Path(self._path)) if self._path else None

    def collect(self) -> int:
        """Record the results in files beside the database; return how many calculations were recorded.

        Only files whose calculation is in the ledger then are removed: a result may be a day of work, and a file that cannot be read now
        can be read later.
        """
        if not self._path:
            return 0
        done, recorded = [], 0
        for kept in kept_answers(kept_files(Path(self._path))):
            if (row := self.lookup(kept.hash)) is None:
                continue
            if row.status not in RETRY:
                done.append(kept.path)
                continue
            checked = checked_answer(kept.answer, row.atoms)
            if isinstance(checked, Label) or isinstance(kept.answer, ReferenceFailed):
                self.finish(kept.hash, checked, kept.wall_seconds)
                note_label(Path(self._path).parent / BLOCKS, kept.wall_seconds)
                done.append(kept.path)
                recorded += 1
            else:
                set_aside(kept.path)
        forget_kept(Path(self._path), done)
        return recorded

    def begin(self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], purpose: str, round: int) -> None:
        """Record the start of a calculation; an interrupted row is reused."""
        self._insert(key, atoms, reference, settings, purpose, round, "running", 1, "UPDATE SET status='running', attempts=attempts+1")

    def reserve(self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], purpose: str, round: int) -> None:
        """Enter a calculation that is not handed out yet, unless there is a row of it."""
        self._insert(key, atoms, reference, settings, purpose, round, "interrupted", 0, "NOTHING")

    def _insert(
        self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], purpose: str, round: int, status: str, attempts: int,
        otherwise: str,
    ) -> None:  # fmt: skip
        """Insert a row without a result, or do what `otherwise` says in SQL if there is one."""
        with database_errors(self._name):
            self._db.execute(
                "INSERT INTO ledger"
                " (hash, asked, reference, settings, numbers, cell, positions, status, attempts, purpose, round, moments)"
                f" VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT(hash) DO {otherwise}",
                (
                    key,
                    time.time(),
                    reference,
                    json.dumps(settings, sort_keys=True, default=str),
                    np.asarray(atoms.numbers, dtype="<i4").tobytes(),
                    np.asarray(atoms.cell.array, dtype="<f8").tobytes(),
                    np.asarray(atoms.positions, dtype="<f8").tobytes(),
                    status,
                    attempts,
                    purpose,
                    round,
                    np.asarray(atoms.get_initial_magnetic_moments(), dtype="<f8").tobytes() if has_moments(atoms) else None,
                ),
            )

    def enter_found(
        self, key: str, atoms: Atoms, reference: str, settings: dict[str, Any], purpose: str, round: int, answer: Label | ReferenceFailed
    ) -> None:
        """Record a result that was found in a shared ledger and cost this search nothing."""
        self.reserve(key, atoms, reference, settings, purpose, round)
        self.finish(key, answer, 0.0)
        with database_errors(self._name):
            self._db.execute("UPDATE ledger SET found=1, core_seconds=0 WHERE hash=?", (key,))

    def keep(self, key: str, answer: Label | ReferenceFailed, wall_seconds: float, patience: Sequence[float] | None = None) -> None:
        """Record the result of a calculation; wait while the disk is full or the database is locked.

        Args:
            key, answer, wall_seconds: as for `finish`.
            patience: seconds between attempts; None uses `PATIENCE`.

        Raises:
            StorageFailed: the result could not be recorded; it is kept in a file beside the database, or in the temporary folder, until
                the ledger is opened again.
        """
        for pause in (*(PATIENCE if patience is None else patience), None):
            try:
                self.finish(key, answer, wall_seconds)
                return
            except (StorageFailed, RunFolderError) as error:
                if pause is None:
                    where = keep_beside(Path(self._path), key, answer, wall_seconds)
                    raise StorageFailed(
                        f"{str(error).partition(';')[0]}; the last result is kept in {where}; free some disk space and resume"
                    ) from error
            except KeyboardInterrupt:
                # The user does not want to wait for the database, but the result must not be lost.
                keep_beside(Path(self._path), key, answer, wall_seconds)
                raise
            try:
                time.sleep(pause)
            except KeyboardInterrupt:
                keep_beside(Path(self._path), key, answer, wall_seconds)
                raise

    def finish(self, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> None:
        """Record the result of a calculation.

        Args:
            key: hash of the row.
            answer: label or failure.
            wall_seconds: wall time of the calculation, s.
        """
        with database_errors(self._name):
            if isinstance(answer, Label):
                self._db.execute(
                    "UPDATE ledger SET status='ok', reason=NULL, energy=?, forces=?, stress=?, iterations=?, core_seconds=?,"
                    " wall_seconds=?, details=?, found=0 WHERE hash=?",
                    (
                        answer.energy,
                        np.asarray(answer.forces, dtype="<f8").tobytes(),
                        np.asarray(answer.stress, dtype="<f8").tobytes(),
                        answer.iterations,
                        answer.core_seconds,
                        wall_seconds,
                        json.dumps(answer.details, default=str),
                        key,
                    ),
                )
            else:
                self._db.execute(
                    "UPDATE ledger SET status=?, reason=?, wall_seconds=?, core_seconds=?, found=0 WHERE hash=?",
                    (answer.kind, answer.reason, wall_seconds, wall_seconds, key),
                )

    def lookup(self, key: str) -> LedgerRow | None:
        """Return the row with this hash, or None."""
        with database_errors(self._name):
            row = self._db.execute(f"SELECT {_COLUMNS} FROM ledger WHERE hash=?", (key,)).fetchone()
        return _row(row, self._name) if row else None

    def count(self) -> int:
        """Return the cost of the search in reference calls: the rows that were handed out and not found in a shared ledger."""
        with database_errors(self._name):
            return int(self._db.execute(f"SELECT COUNT(*) FROM ledger WHERE {PAID}").fetchone()[0])

    def hashes_before(self, round: int, purposes: Sequence[str] = ()) -> set[str]:
        """Return the hashes of all rows of rounds before `round`, and of those with one of these purposes, that are part of the cost."""
        marks = ",".join("?" * len(purposes))
        with database_errors(self._name):
            rows = self._db.execute(f"SELECT hash FROM ledger WHERE {PAID} AND (round<? OR purpose IN ({marks}))", (round, *purposes))
            return {row[0] for row in rows}

    def forget_failures(self) -> None:
        """Mark all failed calculations as interrupted, so that they are repeated when they are requested again."""
        with database_errors(self._name):
            self._db.execute("UPDATE ledger SET status='interrupted', found=0 WHERE status NOT IN ('ok', 'running', 'interrupted')")

    def rows(self) -> Iterator[LedgerRow]:
        """Iterate over all rows in order."""
        with database_errors(self._name):
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY id").fetchall()
        for row in rows:
            yield _row(row, self._name)


def of_an_order(row: LedgerRow) -> bool:
    """Return whether a row of a search belongs to a magnetic order of its own, whose energy is another one than that of the search."""
    return row.purpose in (MAGNETIC, "proof") and has_moments(row.atoms)


def is_ledger(path: Path) -> bool:
    """Return whether a file is an SQLite database with a ledger."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        if stream.read(15) != b"SQLite format 3":
            return False
    with database_errors(path), contextlib.closing(_read_only(path)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name='ledger'").fetchone() is not None


def read_references(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings of each reference whose labels a ledger contains; another process may write to the file meanwhile.

    Raises:
        RunFolderError: the file is not a database, is damaged, or has no ledger.
    """
    with database_errors(path), contextlib.closing(_read_only(path)) as connection:
        rows = connection.execute("SELECT DISTINCT reference, settings FROM ledger WHERE status='ok'").fetchall()
    try:
        return [(str(name), dict(json.loads(settings))) for name, settings in rows]
    except (TypeError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: the settings of a row are damaged ({quoted(str(error), 80)})") from None


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30.0)


def read_labels(path: Path) -> list[tuple[str, LedgerRow, Label]]:
    """Return reference, row and label of all successful rows; another process may write to the file meanwhile.

    Raises:
        RunFolderError: the file is not a database, is damaged, or has no ledger.
    """
    with database_errors(path):
        connection = _read_only(path)
        try:
            present = {row[1] for row in connection.execute("PRAGMA table_info(ledger)")}
            columns = _COLUMNS
            for column in _ADDED.keys() - present:
                columns = columns.replace(column, "NULL")
            results = connection.execute(f"SELECT reference, {columns} FROM ledger WHERE status='ok' ORDER BY id").fetchall()
        finally:
            connection.close()
    rows = [(name, _row(tuple(row), path)) for name, *row in results]
    return [(name, row, row.label) for name, row in rows if row.label is not None]


_COLUMNS = (
    "id, hash, numbers, cell, positions, status, reason, energy, forces, stress, iterations, core_seconds,"
    " wall_seconds, attempts, purpose, round, details, moments, found"
)


def _row(row: tuple[Any, ...], path: Path | str) -> LedgerRow:
    """Convert a database row; raise `RunFolderError`, which names the file, if it is damaged."""
    try:
        return _read_row(row)
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
        number = quoted(row[0], 20)
        raise RunFolderError(f"{path}: row {number} of the ledger is damaged ({quoted(str(error))}); the others can be read") from None


def _read_row(row: tuple[Any, ...]) -> LedgerRow:
    """Convert a database row; exceptions of several types mean that it is damaged."""
    (number, key, numbers, cell, positions, status, reason, energy, forces, stress, iterations, core, wall, attempts,
     purpose, round_, details, moments, found) = row  # fmt: skip
    label = None
    if status == "ok":
        label = Label(
            energy,
            np.frombuffer(forces, dtype="<f8").reshape(-1, 3),
            np.frombuffer(stress, dtype="<f8"),
            iterations or 0,
            core or 0.0,
            json.loads(details) if details else {},
        )
    atoms = Atoms(
        numbers=np.frombuffer(numbers, dtype="<i4"),
        cell=np.frombuffer(cell, dtype="<f8").reshape(3, 3),
        positions=np.frombuffer(positions, dtype="<f8").reshape(-1, 3),
        pbc=True,
    )
    if not all(np.isfinite(array).all() for array in (atoms.cell.array, atoms.positions)):
        raise ValueError("cell or positions are not finite")
    if ((atoms.numbers < 0) | (atoms.numbers >= len(chemical_symbols))).any():
        raise ValueError("an atomic number is not that of an element")
    if moments:
        atoms.set_initial_magnetic_moments(np.frombuffer(moments, dtype="<f8"))
    if label is not None and isinstance(checked := checked_answer(label, atoms), ReferenceFailed):
        raise ValueError(checked.reason)
    if not isinstance(status, str) or not isinstance(reason, str | None):
        raise ValueError("status or reason is not text")
    return LedgerRow(
        number,
        key,
        atoms,
        status,
        reason,
        label,
        float(core or 0),
        float(wall or 0),
        int(attempts),
        str(purpose),
        int(round_),
        bool(found),
    )
