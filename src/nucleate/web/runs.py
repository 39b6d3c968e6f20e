"""Runs as data for the page, read from their folders; what has not changed is not read again."""

from __future__ import annotations

import signal
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.csp.phase_file import read_phase
from nucleate.csp.records import Polymorph, enthalpy_per_atom
from nucleate.csp.run_data import RunData, lower_label_text, read_run, show_data
from nucleate.errors import NucleateError, RunFolderError, quoted
from nucleate.persist.json_data import finite
from nucleate.persist.locks import is_locked
from nucleate.report.figures import SIZES, size_of
from nucleate.web.places import id_of
from nucleate.web.refused import Refused
from nucleate.web.searches import Searches, Started

MOST_CACHED = 32
"""Largest number of runs whose contents are kept in memory."""


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `RunFolderError` in place of an error of any other kind, which a damaged folder or one in the middle of a write may cause."""
    try:
        yield
    except NucleateError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {quoted(' '.join(str(error).split()), 120)}"
        raise RunFolderError(f"{path.name}: the folder is damaged or is being written; load it again ({text})") from error


@dataclass
class _Read:
    """Contents of a run at one moment; `stamp` tells whether the files have changed since."""

    stamp: tuple[Any, ...]
    run: RunData
    shown: dict[str, Any] | None = None


@dataclass
class Runs:
    """Reader of run folders.

    Attributes:
        searches: searches that this server started.
    """

    searches: Searches
    _cache: OrderedDict[Path, _Read] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, path: Path) -> RunData:
        """Return the contents of a run folder; raise `RunFolderError` if it is damaged."""
        return self._entry(path).run

    def show(self, path: Path) -> dict[str, Any]:
        """Return the data of `nucleate show --json` with `id`, `status`, and what the server can do with the run.

        Raises:
            RunFolderError: the folder is damaged.
        """
        started = self.searches.of(path)
        if not (path / "run.toml").is_file():
            return {**self._without_folder(path, started), "polymorphs": [], "rounds": []}
        entry = self._entry(path)
        if entry.shown is None:
            with readable(path):
                entry.shown = show_data(entry.run)
        failures = [row for row in entry.run.rows if row.label is None and row.status != "running"]
        state = self._state(path, entry.run, started)
        return {
            **entry.shown,
            **state,
            "phase": read_phase(path) if state["status"] in ("running", "stopping") else None,
            "failures": len(failures),
            "advice": lower_label_text(entry.shown) or None,
        }

    def summary(self, path: Path) -> dict[str, Any]:
        """Return the entry of a run in the list; a damaged run has a `message` and no figures."""
        started = self.searches.of(path)
        if not (path / "run.toml").is_file():
            return self._without_folder(path, started)
        try:
            run = self.read(path)
        except NucleateError as error:
            return {"id": id_of(path), "name": path.name, "status": "damaged", "message": str(error)}
        ranking = run.state.ranking()
        return finite(
            {
                **self._state(path, run, started),
                "formula": run.settings.name,
                "calls": run.calls,
                "budget": run.settings.search.budget,
                "round": run.state.round if run.state.round >= 0 else None,
                "reference": run.reference,
                "surrogate": run.surrogate,
                "polymorph_count": len(ranking),
                "best": {"energy": ranking[0].energy, "space_group": ranking[0].space_group} if ranking else None,
            }
        )

    def polymorph(self, path: Path, rank: int) -> Polymorph:
        """Return the polymorph of a rank, from 1; raise `Refused` (404) if there is none."""
        ranking = self.read(path).state.ranking()
        if not 1 <= rank <= len(ranking):
            raise Refused(f"there is no polymorph of rank {rank}; the run has {len(ranking)}", 404)
        return ranking[rank - 1]

    def label(self, path: Path, number: int) -> tuple[Atoms, dict[str, Any]]:
        """Return a labelled structure and its data; raise `Refused` (404) if there is none of this number."""
        run = self.read(path)
        for row in run.rows:
            if row.number == number and row.label is not None:
                energy = enthalpy_per_atom(row.atoms, row.label, run.settings.pressure)
                return row.atoms, {"number": number, "energy": energy, "purpose": row.purpose}
        raise Refused(f"there is no labelled structure {number}", 404)

    def landscape(self, path: Path) -> dict[str, Any]:
        """Return energy (eV/atom) and size of all labelled structures and polymorphs, with the name and unit of the size."""
        run = self.read(path)
        name, unit = SIZES[run.settings.dimensions]
        labels = [
            [row.number, size_of(row.atoms, run.settings.dimensions), enthalpy_per_atom(row.atoms, row.label, run.settings.pressure)]
            for row in run.crystals
            if row.label is not None
        ]
        ranking = run.state.ranking()
        polymorphs = [[k + 1, size_of(p.atoms, run.settings.dimensions), p.energy] for k, p in enumerate(ranking)]
        energy = "enthalpy" if run.settings.pressure else "energy"
        return finite({"size": name, "unit": unit, "energy": energy, "labels": labels, "polymorphs": polymorphs})

    def failures(self, path: Path) -> list[dict[str, Any]]:
        """Return number, purpose, round, kind and reason of the failed reference calculations."""
        return [
            {"number": row.number, "purpose": row.purpose, "round": row.round, "kind": row.status, "reason": row.reason}
            for row in self.read(path).rows
            if row.label is None and row.status != "running"
        ]

    def _without_folder(self, path: Path, started: Started | None) -> dict[str, Any]:
        """Return the state of a search that has not created its folder."""
        alive = started is not None and started.alive
        return {
            "id": id_of(path),
            "name": path.name,
            "status": "starting" if alive else "failed",
            "can_stop": alive,
            "can_resume": False,
            "message": None if started is None else started.message(),
        }

    def _state(self, path: Path, run: RunData, started: Started | None) -> dict[str, Any]:
        """Return what the server knows about the process of a run."""
        alive = started is not None and started.alive
        running = alive or is_locked(path / "lock")
        status = "running" if running else "finished" if run.status == "finished" else "stopped"
        if alive and started is not None and started.interrupted:
            status = "stopping"
        failed = started is not None and not alive and started.process.returncode not in (0, 130, -signal.SIGINT)
        return {
            "id": id_of(path),
            "name": path.name,
            "status": "failed" if failed and status == "stopped" else status,
            "can_stop": alive,
            "can_resume": not running,
            "message": started.message() if started is not None and not alive and started.process.returncode else None,
        }

    def _entry(self, path: Path) -> _Read:
        stamp = _stamp(path)
        with self._lock:
            entry = self._cache.get(path)
            if entry is not None and entry.stamp == stamp:
                self._cache.move_to_end(path)
                return entry
        with readable(path):
            entry = _Read(stamp, read_run(path))
        with self._lock:
            self._cache[path] = entry
            self._cache.move_to_end(path)
            while len(self._cache) > MOST_CACHED:
                self._cache.popitem(last=False)
        return entry


def _stamp(path: Path) -> tuple[Any, ...]:
    """Return sizes and times of the files of a run that change."""
    facts: list[Any] = []
    for name in ("run.toml", "run.db", "run.db-wal", "events.jsonl"):
        try:
            stat = (path / name).stat()
            facts.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            facts.append(None)
    # A run that another process works on is read with its write-ahead log, and without it afterwards.
    return (*facts, is_locked(path / "lock"))
