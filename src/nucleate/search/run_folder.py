"""The run folder: settings, database, events, models, structures. One process at a time; killed at any moment, nothing is lost."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
import zlib
from pathlib import Path
from typing import Any

from nucleate.errors import RunFolderError
from nucleate.reference.ledger import Ledger, database_errors, open_database
from nucleate.storage import append_line, read_lines, write_whole

VERSION = 1
"""Of the folder's layout; a folder with a larger number was written by a newer nucleate."""


class RunFolder:
    """An open run folder, locked against other processes until closed.

    Attributes:
        path: the folder.
        ledger: its record of reference calls.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int):
        self.path = path
        self._db = connection
        self._lock = lock
        self.ledger = Ledger(connection)
        with database_errors(path / "run.db"):
            connection.execute("CREATE TABLE IF NOT EXISTS state (round INTEGER PRIMARY KEY, saved REAL, data BLOB)")
            connection.execute("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT)")

    @classmethod
    def create(cls, path: Path, settings_toml: str) -> RunFolder:
        """A new folder, or an existing one written with the very same settings.

        Raises:
            RunFolderError: the folder holds something else, or cannot be written.
        """
        present = path / "run.toml"
        if present.exists():
            if present.read_text(encoding="utf-8") != settings_toml:
                raise RunFolderError(
                    f"{path}: holds a run with other settings; resume it with: nucleate resume {path}, or choose another --out"
                )
            return cls.open(path)
        begun = {"models", "structures", f"{present.name}.part"}
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path}: is a file, not a folder; choose another --out")
        if path.exists() and any(entry.name not in begun for entry in path.iterdir()):
            raise RunFolderError(f"{path}: is not empty and holds no run; choose another --out")
        try:
            for folder in (path, path / "models", path / "structures"):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        write_whole(present, settings_toml)
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder.

        Raises:
            RunFolderError: not a run folder, in use, newer than this program, damaged.
        """
        if not (path / "run.toml").is_file():
            raise RunFolderError(f"{path}: no run here (run.toml is missing); start one with: nucleate search FORMULA --out {path}")
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise RunFolderError(f"{path}: another process is working on this run; wait for it or stop it") from None
        try:
            connection = open_database(path / "run.db")
            with database_errors(path / "run.db"):
                version = connection.execute("PRAGMA user_version").fetchone()[0]
                if version > VERSION:
                    raise RunFolderError(
                        f"{path}: written by a newer nucleate (layout {version}, this one knows {VERSION}); update nucleate"
                    )
                connection.execute(f"PRAGMA user_version={VERSION}")
            return cls(path, connection, lock)
        except BaseException:
            os.close(lock)
            raise

    def close(self) -> None:
        """Release the folder."""
        self._db.close()
        os.close(self._lock)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # -- state ------------------------------------------------------------------------------------------------

    def save_state(self, round: int, data: dict[str, Any]) -> None:
        """Commit the loop's state after a round; the last three are kept."""
        blob = zlib.compress(json.dumps(data).encode(), 3)
        with database_errors(self.path / "run.db"):
            self._db.execute("BEGIN")
            self._db.execute("INSERT OR REPLACE INTO state VALUES (?,?,?)", (round, time.time(), blob))
            self._db.execute("DELETE FROM state WHERE round<?", (round - 2,))
            self._db.execute("COMMIT")

    def load_state(self) -> tuple[int, dict[str, Any]] | None:
        """The last committed round and its state, or None before the first."""
        with database_errors(self.path / "run.db"):
            row = self._db.execute("SELECT round, data FROM state ORDER BY round DESC LIMIT 1").fetchone()
        if row is None:
            return None
        try:
            return int(row[0]), json.loads(zlib.decompress(row[1]))
        except (zlib.error, json.JSONDecodeError) as error:
            raise RunFolderError(f"{self.path / 'run.db'}: the saved state is damaged ({error}); labels can still be read") from error

    def set_fact(self, name: str, value: Any) -> None:
        """Store one JSON value by name."""
        with database_errors(self.path / "run.db"):
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, json.dumps(value)))

    def fact(self, name: str, default: Any = None) -> Any:
        """A value stored with `set_fact`."""
        with database_errors(self.path / "run.db"):
            row = self._db.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    # -- files ------------------------------------------------------------------------------------------------

    def change_settings(self, settings_toml: str) -> None:
        """Replace run.toml."""
        write_whole(self.path / "run.toml", settings_toml)

    def event(self, kind: str, **what: Any) -> None:
        """Append one line to events.jsonl."""
        append_line(self.path / "events.jsonl", {"time": round(time.time(), 3), "event": kind, **what})

    def events(self) -> list[dict[str, Any]]:
        """All events; a last line cut by a kill is left out."""
        return read_lines(self.path / "events.jsonl")
