"""Result files of benchmarks: a row per seed or repeat, written as it arrives, with the run that produced it.

A result file is `result.json` beside the script of a benchmark. Its tables in benchmarks/results are generated from it.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nucleate.errors import BadInput
from nucleate.persist.files import write_whole
from nucleate.persist.json_data import finite

SCHEMA = 1
PACKAGES = ("nucleate", "torch", "numpy", "ase")


class ResultFile:
    """Rows of a benchmark and the runs that produced them.

    Args:
        path: file; it is created with the first row.
        settings: settings on which all rows depend.
        packages: packages whose versions are recorded beside those of nucleate, torch, NumPy and ASE.

    Attributes:
        rows: rows, each with the number of its run as `run`.
        runs: date, command, processor and versions of each run.

    Raises:
        BadInput: the file contains results of other settings, or is not a result file.
    """

    def __init__(self, path: Path, settings: dict[str, Any], packages: tuple[str, ...] = ()):
        self.path = path
        self.settings = json.loads(json.dumps(settings))
        self.runs: list[dict[str, Any]] = []
        self.rows: list[dict[str, Any]] = []
        self._packages = (*PACKAGES, *packages)
        self._run: int | None = None
        if path.exists():
            data = read_result(path)
            if data["settings"] != self.settings:
                changed = sorted(k for k in {*data["settings"], *self.settings} if data["settings"].get(k) != self.settings.get(k))
                raise BadInput(f"{path}: contains results with another {', '.join(changed)}; rename the file to start a new one")
            self.runs, self.rows = data["runs"], data["rows"]

    def find(self, **key: Any) -> dict[str, Any] | None:
        """Return the row with these entries, or None."""
        return next((row for row in self.rows if all(row.get(name) == value for name, value in key.items())), None)

    def add(self, **row: Any) -> None:
        """Add a row and write the file."""
        if self._run is None:
            self.runs.append(describe_run(self._packages))
            self._run = len(self.runs) - 1
        self.rows.append(finite({"run": self._run, **row}))
        lines = ",\n".join(json.dumps(each, separators=(",", ":")) for each in self.rows)
        head = json.dumps({"schema": SCHEMA, "settings": self.settings, "runs": self.runs}, indent=1)
        write_whole(self.path, f'{head[:-2]},\n "rows": [\n{lines}\n]}}\n')


def read_result(path: Path) -> dict[str, Any]:
    """Return the contents of a result file.

    Raises:
        BadInput: the file is not a result file.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        whole = data["schema"] == SCHEMA and all(isinstance(data[name], list) for name in ("runs", "rows"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: is not a result file ({error}); rename it to start a new one") from error
    if not whole:
        raise BadInput(f"{path}: is not a result file of schema {SCHEMA}; rename it to start a new one")
    return dict(data)


def describe_run(packages: tuple[str, ...]) -> dict[str, Any]:
    """Return date, command, commit, processor, load and package versions."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": shlex.join(["python", *sys.argv]),
        "commit": commit(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def commit() -> str | None:
    """Return the commit of the working directory, marked `-dirty` with uncommitted changes; None outside a repository."""
    try:
        shown = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


def processor() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def run_line(data: dict[str, Any]) -> str:
    """Return a sentence that names date, command and machine of the runs of a result file."""
    texts = []
    for run in data["runs"]:
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        commit = f", commit {run['commit']}" if run.get("commit") else ""
        load = "" if run.get("load") is None else f" at load {run['load']:g}"
        texts.append(
            f"{run['date']}{commit}: `{run['command']}` on {run['cores']} cores of {run['processor']}{load} "
            f"(Python {run['python']}, {versions})"
        )
    return "; ".join(texts) + "."
