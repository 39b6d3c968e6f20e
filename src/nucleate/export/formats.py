"""The formats of `nucleate export`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nucleate.csp.run_data import RunData, read_run
from nucleate.errors import BadInput, RunFolderError, quoted
from nucleate.export.aiida import write_aiida
from nucleate.export.ase_db import write_ase_db
from nucleate.export.entries import write_entries
from nucleate.export.optimade import write_optimade
from nucleate.export.res import write_res
from nucleate.export.ro_crate import write_ro_crate


@dataclass(frozen=True)
class Format:
    """A format of results.

    Attributes:
        target: default name of the file or folder; `{name}` is the name of the run folder.
        write: writes a run to a path that does not exist yet, and returns a description of what was written.
        needs_polymorphs: whether there is nothing to write without polymorphs.
    """

    target: str
    write: Callable[[RunData, Path], str]
    needs_polymorphs: bool = True


FORMATS: dict[str, Format] = {
    "res": Format("{name}-res", write_res),
    "json": Format("{name}.json", write_entries),
    "ase-db": Format("{name}.db", write_ase_db, needs_polymorphs=False),
    "aiida": Format("{name}.aiida", write_aiida),
    "optimade": Format("{name}.jsonl", write_optimade),
    "ro-crate": Format("{name}-crate", write_ro_crate, needs_polymorphs=False),
}


def export(folder: Path | str, to: str, out: Path | str | None = None) -> tuple[Path, str]:
    """Write the results of a search for another program.

    Args:
        folder: run folder; the search may be running, stopped or finished.
        to: `res`, `json`, `ase-db`, `aiida`, `optimade` or `ro-crate`.
        out: file or folder to write, which must not exist; None: named after the run folder, beside it.

    Returns:
        The path, and a description of what was written.

    Raises:
        BadInput: the format is unknown, or the path exists or cannot be written.
        RunFolderError: the folder is not a run folder, or contains nothing to write.
    """
    if to not in FORMATS:
        raise BadInput(f"--to {quoted(to, 40)}: is not a format; choose {', '.join(FORMATS)}")
    run, chosen = read_run(Path(folder)), FORMATS[to]
    if chosen.needs_polymorphs and not run.state.polymorphs:
        raise RunFolderError(f"{run.path}: no polymorph is confirmed yet; {to} would be empty")
    if not chosen.needs_polymorphs and not run.rows:
        raise RunFolderError(f"{run.path}: no calculation is recorded yet; {to} would be empty")
    place = run.path.resolve()
    target = place.parent / chosen.target.format(name=place.name) if out is None else Path(out)
    if target.resolve().is_relative_to(place):
        raise BadInput(f"{target}: is in the run folder; choose an --out beside it")
    if target.exists():
        raise BadInput(f"{target}: exists already; choose another --out or delete it")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target, chosen.write(run, target)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written: {error.strerror}") from error
    except sqlite3.Error as error:
        raise BadInput(f"{target}: cannot be written: {quoted(str(error), 80)}") from error
