"""The run folder with settings, database, events, models and structures, which remains consistent if the process is killed."""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
import zlib
from pathlib import Path
from typing import Any

from nucleate.csp.records import LoopState
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.saved import PolymorphEvent, SavedLimit, SavedMolecule, SavedReference, SavedState, SavedTeacher, SavedVersions, unpacked
from nucleate.errors import RunFolderError, quoted
from nucleate.persist.checked import checked
from nucleate.persist.files import append_line, read_lines, write_whole
from nucleate.persist.locks import lock_file
from nucleate.persist.toml import same_settings
from nucleate.reference.ledger import Ledger, database_errors, open_database

VERSION = 3
"""Newest version of the layout of run folders."""


BEGUN = {"lock", "models", "structures", "run.toml.part"}
"""Names of the files in a folder whose search was killed before its settings were written."""


def _lock(path: Path) -> int:
    """Lock a run folder; return the descriptor of the lock."""
    return lock_file(path / "lock", f"{path}: another process is working on this run; wait for it or stop it")


def _refuse_other_contents(path: Path, settings_toml: str) -> None:
    """Raise `RunFolderError` if the path is a file, or a folder with another run or other files."""
    if not path.exists():
        return
    if not path.is_dir():
        raise RunFolderError(f"{path}: is a file, not a folder; choose another --out")
    present = path / "run.toml"
    if present.exists():
        if not same_settings(RunSettings, present.read_text(encoding="utf-8", errors="replace"), settings_toml):
            raise RunFolderError(
                f"{path}: contains a run with other settings; resume it with: nucleate resume {path}, or choose another --out"
            )
    elif any(entry.name not in BEGUN for entry in path.iterdir()):
        raise RunFolderError(f"{path}: is not empty and is not a run folder; choose another --out")


class RunFolder:
    """Open run folder, locked against other processes until it is closed.

    Attributes:
        path: the folder.
        ledger: ledger of the reference calls.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int):
        self.path = path
        self._db = connection
        self._lock = lock
        self.ledger = Ledger(connection, path / "run.db")
        with database_errors(path / "run.db"):
            connection.execute("CREATE TABLE IF NOT EXISTS state (round INTEGER PRIMARY KEY, saved REAL, data BLOB)")
            connection.execute("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT)")

    @classmethod
    def create(cls, path: Path, settings_toml: str) -> RunFolder:
        """Create a run folder, or open an existing one with identical settings.

        Raises:
            RunFolderError: the folder contains another run or other files, is in use, or cannot be written.
        """
        try:
            # This check comes before locking as well, so that no lock file is left in a folder with other contents.
            _refuse_other_contents(path, settings_toml)
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        lock = _lock(path)
        try:
            # Two searches may have been started together, so the contents are checked again now that the folder is locked.
            try:
                _refuse_other_contents(path, settings_toml)
                for folder in (path / "models", path / "structures"):
                    folder.mkdir(exist_ok=True)
            except OSError as error:
                raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
            if not (path / "run.toml").exists():
                write_whole(path / "run.toml", settings_toml)
            return cls._open_locked(path, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            RunFolderError: the folder is not a run folder, is in use, was written by a newer version, or is damaged.
        """
        if not (path / "run.toml").is_file():
            hint = f"start a run with: nucleate search FORMULA --out {path}"
            raise RunFolderError(f"{path}: is not a run folder (run.toml is missing); {hint}")
        lock = _lock(path)
        try:
            return cls._open_locked(path, lock)
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _open_locked(cls, path: Path, lock: int) -> RunFolder:
        connection = open_database(path / "run.db")
        try:
            with database_errors(path / "run.db"):
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise RunFolderError(
                        f"{path}: written by a newer nucleate (layout {version}, this one supports {VERSION}); update nucleate"
                    )
                connection.execute(f"PRAGMA user_version={VERSION}")
            return cls(path, connection, lock)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the database and release the lock."""
        self._db.close()
        os.close(self._lock)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # -- state ------------------------------------------------------------------------------------------------

    def save_state(self, round: int, data: dict[str, Any]) -> None:
        """Save the state of the loop after a round; the states of the last three rounds are kept."""
        blob = zlib.compress(json.dumps(data).encode(), 3)
        with database_errors(self.path / "run.db"):
            self._db.execute("BEGIN")
            self._db.execute("INSERT OR REPLACE INTO state VALUES (?,?,?)", (round, time.time(), blob))
            self._db.execute("DELETE FROM state WHERE round<?", (round - 2,))
            self._db.execute("COMMIT")

    def load_state(self) -> tuple[int, dict[str, Any]] | None:
        """Return the last saved round and its state as plain data, not validated; None before the first round.

        Raises:
            RunFolderError: the state is damaged.
        """
        with database_errors(self.path / "run.db"):
            row = self._db.execute("SELECT round, data FROM state ORDER BY round DESC LIMIT 1").fetchone()
        if row is None:
            return None
        try:
            return int(row[0]), json.loads(unpacked(row[1]))
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged("the saved state", error) from error

    def loop_state(self) -> LoopState | None:
        """Return the validated state of the loop after the last saved round, or None before the first.

        Raises:
            RunFolderError: the state is damaged.
        """
        saved = self.load_state()
        if saved is None:
            return None
        try:
            checked(SavedState, saved[1])
            return LoopState.from_dict(saved[1])
        except (ValueError, RecursionError) as error:
            raise self._damaged("the saved state", error) from error

    def _damaged(self, what: str, error: Exception) -> RunFolderError:
        """Return an error for damaged contents of the database, with advice to use the labels."""
        hint = f"labels can still be read: nucleate train {self.path}"
        return RunFolderError(f"{self.path / 'run.db'}: {what} is damaged ({quoted(str(error), 120)}); {hint}")

    def set_fact(self, name: str, value: Any) -> None:
        """Store one JSON value by name."""
        with database_errors(self.path / "run.db"):
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, json.dumps(value)))

    def fact(self, name: str, default: Any = None) -> Any:
        """Return a value stored with `set_fact`, or `default`.

        Raises:
            RunFolderError: the value is damaged.
        """
        with database_errors(self.path / "run.db"):
            row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        if row is None:
            return default
        try:
            return json.loads(row[0])
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged(f"the stored value '{quoted(name, 20)}'", error) from error

    def reference(self) -> SavedReference | None:
        """Return the reference whose calculations the folder contains; None before the first.

        Raises:
            RunFolderError: the stored value is damaged.
        """
        data = self.fact("reference")
        if data is None:
            return None
        try:
            return checked(SavedReference, data)
        except ValueError as error:
            raise self._damaged("the stored value 'reference'", error) from error

    def teacher(self) -> SavedTeacher | None:
        """Return the summary of the search on the teacher; None if there is no teacher, or before that search has ended.

        Raises:
            RunFolderError: the stored value is damaged.
        """
        data = self.fact("teacher")
        if data is None:
            return None
        try:
            return checked(SavedTeacher, data)
        except ValueError as error:
            raise self._damaged("the stored value 'teacher'", error) from error

    def molecules(self) -> list[SavedMolecule]:
        """Return the summaries of the isolated molecules; empty before they are calculated, and for other searches.

        Raises:
            RunFolderError: the stored value is damaged.
        """
        data = self.fact("molecules", [])
        try:
            return [checked(SavedMolecule, item) for item in data]
        except (TypeError, ValueError) as error:
            raise self._damaged("the stored value 'molecules'", error) from error

    def owner(self) -> str:
        """Return the name of the search in a ledger that it shares with others.

        A resumed search keeps it, and so does one whose folder was moved; a copy of the folder is another search.
        """
        name = self.fact("owner")
        if not isinstance(name, str):
            name = uuid.uuid4().hex
            self.set_fact("owner", name)
        place = (self.path / "run.db").stat()
        return f"{name}-{place.st_dev:x}-{place.st_ino:x}"

    def add_versions(self, versions: dict[str, str]) -> None:
        """Store the versions of the programs, unless they are those with which the search went on before."""
        before = self.versions()
        if before[-1:] != [versions]:
            self.set_fact("versions", [*before, versions])

    def versions(self) -> list[dict[str, str]]:
        """Return the versions of the programs with which the search began, and each time that they changed.

        Raises:
            RunFolderError: the stored value is damaged.
        """
        try:
            return checked(SavedVersions, {"versions": self.fact("versions", [])}).versions
        except ValueError as error:
            raise self._damaged("the stored value 'versions'", error) from error

    def add_limits(self, round: int, budget: int, max_rounds: int) -> None:
        """Store the limits with which a search goes on after a round, unless they are those with which it went on before."""
        before = self.limits()
        if not before or (before[-1].budget, before[-1].max_rounds) != (budget, max_rounds):
            new = SavedLimit(round=round, budget=budget, max_rounds=max_rounds)
            self.set_fact("limits", [limit.model_dump() for limit in [*before, new]])

    def limits(self) -> list[SavedLimit]:
        """Return the limits with which the search began, and each time that they changed.

        Raises:
            RunFolderError: the stored value is damaged.
        """
        try:
            return [checked(SavedLimit, item) for item in self.fact("limits", [])]
        except (TypeError, ValueError) as error:
            raise self._damaged("the stored value 'limits'", error) from error

    # -- files ------------------------------------------------------------------------------------------------

    def change_settings(self, settings_toml: str) -> None:
        """Replace run.toml."""
        write_whole(self.path / "run.toml", settings_toml)

    def event(self, kind: str, **what: Any) -> None:
        """Append one line to events.jsonl."""
        append_line(self.path / "events.jsonl", {"time": round(time.time(), 3), "event": kind, **what})

    def events(self) -> list[dict[str, Any]]:
        """Return all events; incomplete lines are skipped."""
        return read_lines(self.path / "events.jsonl")

    def polymorph_events(self) -> list[PolymorphEvent]:
        """Return the events of confirmed polymorphs.

        Raises:
            RunFolderError: one of them is damaged.
        """
        polymorphs = []
        for event in self.events():
            if event.get("event") == "polymorph":
                try:
                    polymorphs.append(checked(PolymorphEvent, event))
                except ValueError as error:
                    text = f"the line of a polymorph event is damaged ({quoted(str(error), 120)}); delete that line"
                    raise RunFolderError(f"{self.path / 'events.jsonl'}: {text}") from error
        return polymorphs
