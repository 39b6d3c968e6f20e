"""Searches that this server started: each is a `nucleate search` or `nucleate resume` in a process group of its own.

They continue when the server ends, and are then stopped or resumed from the command line, or by a server that is started again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from nucleate.csp.resolve import resolve_settings
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import quoted
from nucleate.persist.files import write_whole
from nucleate.persist.locks import is_locked
from nucleate.persist.toml import to_toml
from nucleate.web.fields import check_fields, flat
from nucleate.web.refused import Refused

MOST_RUNNING = 4
"""Largest number of searches that one server runs at a time."""
LONGEST_MESSAGE = 2000
"""Characters of the messages of a search that are shown."""


@dataclass
class Started:
    """A search started by this server.

    Attributes:
        process: its process.
        output: what it printed to the error stream.
        interrupted: whether it was asked to stop.
    """

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    interrupted: bool = False

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def message(self) -> str | None:
        """Return the last lines that it printed to the error stream; None if there are none."""
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(self.output.fileno()).st_size
            text = os.pread(self.output.fileno(), LONGEST_MESSAGE, max(0, size - LONGEST_MESSAGE)).decode("utf-8", "replace").strip()
            return "\n".join(quoted(line, 500) for line in text.splitlines()[-5:]) or None
        return None


def merged(profile: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a profile with those of the client in their place."""
    result = {key: dict(value) if isinstance(value, dict) else value for key, value in profile.items()}
    for name, value in flat(given).items():
        table, dot, key = name.rpartition(".")
        place = result.setdefault(table, {}) if dot else result
        if not isinstance(place, dict):
            raise Refused(f"{table}: the profile has a value in place of a table")
        place[key] = value
    return result


class Searches:
    """Starts, stops and resumes searches; all methods may be called from several threads."""

    def __init__(self) -> None:
        self._started: dict[Path, Started] = {}
        self._lock = threading.Lock()
        self._folder = tempfile.TemporaryDirectory(prefix="nucleate-serve-")

    def close(self) -> None:
        """Remove the temporary files; searches continue."""
        self._folder.cleanup()

    def of(self, path: Path) -> Started | None:
        """Return the search that this server started in a folder; None if there is none."""
        return self._started.get(path)

    def paths(self) -> list[Path]:
        """Return the folders of all searches that this server started."""
        return list(self._started)

    def start(self, folder: Path, given: dict[str, Any], profile: dict[str, Any]) -> Path:
        """Start a search in a new folder inside `folder`.

        Args:
            folder: folder of runs.
            given: settings of the client, as nested dictionaries.
            profile: settings of the profile, which those of the client override.

        Returns:
            The run folder, which the search creates within a few seconds.

        Raises:
            Refused: a setting cannot be set by a client, no formula is given, or too many searches are running.
            BadInput: a setting has an invalid value, or settings contradict each other.
        """
        check_fields(given)
        settings = resolve_settings(settings=merged(profile, given))
        with self._lock:
            self._refuse_too_many()
            path = self._free(folder, settings)
            folder.mkdir(parents=True, exist_ok=True)
            file = Path(self._folder.name, f"{path.name}.toml")
            write_whole(file, to_toml(settings))
            self._spawn(path, ["search", "--settings", str(file), "--out", str(path), "--quiet"])
        return path

    def resume(self, path: Path, budget: int | None) -> None:
        """Resume a search, with a larger budget if one is given.

        Raises:
            Refused: (409) the search is running, or (429) too many searches are.
        """
        with self._lock:
            if self._is_alive(path) or is_locked(path / "lock"):
                raise Refused("the search is running", 409)
            self._refuse_too_many()
            self._spawn(path, ["resume", str(path), *([] if budget is None else ["--budget", str(budget)]), "--quiet"])

    def stop(self, path: Path) -> None:
        """Interrupt a search, which writes its results and ends.

        Raises:
            Refused: (409) the search is not running, or was started by another program.
        """
        with self._lock:
            started = self._started.get(path)
            if started is None or not started.alive:
                if is_locked(path / "lock"):
                    raise Refused("the search was not started by this server; stop it with Ctrl-C where it was started", 409)
                raise Refused("the search is not running", 409)
            started.interrupted = True
            # Workers have sessions of their own and end with the search, as after Ctrl-C in a terminal.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.process.pid, signal.SIGINT)

    def _spawn(self, path: Path, arguments: list[str]) -> None:
        output = tempfile.TemporaryFile(dir=self._folder.name)  # noqa: SIM115 - open as long as the server shows its messages
        # -P: a folder in which the server was started must not provide modules, as for the command nucleate.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nucleate", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True,
        )  # fmt: skip
        self._started[path] = Started(process, output)

    def _is_alive(self, path: Path) -> bool:
        started = self._started.get(path)
        return started is not None and started.alive

    def _refuse_too_many(self) -> None:
        running = sum(started.alive for started in self._started.values())
        if running >= MOST_RUNNING:
            raise Refused(f"{running} searches of this server are running; stop one, or wait until one ends", 429)

    def _free(self, folder: Path, settings: RunSettings) -> Path:
        """Return a path that does not exist, named after the formula."""
        for number in range(1, 10_000):
            path = folder / (settings.name if number == 1 else f"{settings.name}-{number}")
            if not (path.exists() or path.is_symlink() or path in self._started):
                return path
        raise Refused(f"{settings.name}: all folder names derived from the formula are in use; remove old runs", 409)
