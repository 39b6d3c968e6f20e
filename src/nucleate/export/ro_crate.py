"""A run folder as a research object: its files with a description of what made them, by RO-Crate 1.1.

S. Soiland-Reyes et al., Data Science 5, 97 (2022), doi 10.3233/DS-210053; https://w3id.org/ro/crate/1.1.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nucleate.csp.run_data import RunData, structure_name
from nucleate.export.folders import whole_folder
from nucleate.export.labels import k_points_of, row_of
from nucleate.persist.files import write_whole
from nucleate.reference.spool import BLOCKS

KINDS = {
    "run.toml": ("Settings of the search", "application/toml"),
    "run.db": ("Ledger of all reference calculations and state of the search (SQLite)", "application/vnd.sqlite3"),
    "accurate.db": ("Ledger of the accurate energies (SQLite)", "application/vnd.sqlite3"),
    "events.jsonl": ("Events of the search, one JSON object a line", "application/jsonl"),
    "table.csv": ("Ranking of the polymorphs", "text/csv"),
    "report.html": ("Report", "text/html"),
    "map.json": ("Map of the energy landscape for chemiscope", "application/json"),
}
SUFFIXES = {
    ".cif": "chemical/x-cif",
    ".extxyz": "chemical/x-xyz",
    ".safetensors": "application/octet-stream",
    ".db": "application/vnd.sqlite3",
}
METADATA = "ro-crate-metadata.json"
LEFT_OUT = (".part", "-wal", "-shm", "lock")
"""Ends of the names of files that are not results."""


def write_ro_crate(run: RunData, target: Path) -> str:
    """Copy the files of a run into a new folder and describe them in ro-crate-metadata.json."""
    sources = sorted(path for path in run.path.rglob("*") if _is_result(path, run.path))
    with whole_folder(target) as part:
        for source in sources:
            copy = part / source.relative_to(run.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(source, copy)
        names = [source.relative_to(run.path).as_posix() for source in sources]
        graph = _graph(run, part, names)
        text = json.dumps({"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": graph}, indent=1)
        write_whole(part / METADATA, text + "\n")
    return f"{len(names)} files with their description, ro-crate-metadata.json"


def _is_result(path: Path, folder: Path) -> bool:
    """Return whether a file of a run folder belongs to its results: no link, no temporary file, and no key of a cluster's blocks."""
    if path.is_symlink() or not path.is_file() or path.name.endswith(LEFT_OUT):
        return False
    return path.relative_to(folder).parts[0] not in (BLOCKS, METADATA)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file; a database is copied with the changes that its log contains."""
    if source.suffix != ".db":
        shutil.copyfile(source, copy)
        return
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)


def _graph(run: RunData, folder: Path, names: list[str]) -> list[dict[str, Any]]:
    """Return the entities of the description."""
    ranking = run.state.ranking()
    written = datetime.datetime.fromtimestamp((run.path / "run.toml").stat().st_mtime, datetime.UTC)
    ended = datetime.datetime.fromtimestamp(max((run.path / name).stat().st_mtime for name in names), datetime.UTC)
    surrogate = " (a surrogate, not a first-principles method)" if run.surrogate else ""
    best = f"; lowest polymorph {ranking[0].space_group}, {ranking[0].energy:.6f} eV/atom" if ranking else ""
    root = {
        "@id": "./", "@type": "Dataset", "name": f"Crystal structure search of {run.settings.name}",
        "description": f"Polymorphs of {run.settings.name} at {run.settings.pressure:g} GPa on {run.reference}{surrogate}, searched with "
        f"{run.calls} calculations{best}.",
        "datePublished": ended.date().isoformat(), "license": "The owner of the data has not stated a licence.",
        "hasPart": [{"@id": quote(name)} for name in names], "mentions": [{"@id": "#search"}], "keywords": "crystal structure prediction",
    }  # fmt: skip
    used = list(dict.fromkeys(item for versions in run.versions for item in versions.items()))
    programs = [{"@id": f"#{name}-{number}", "@type": "SoftwareApplication", "name": name, "version": number} for name, number in used]
    results = [name for name in names if name != "run.toml"]
    action = {
        "@id": "#search", "@type": "CreateAction", "name": f"nucleate search {run.settings.name}",
        "startTime": written.isoformat(timespec="seconds"), "endTime": ended.isoformat(timespec="seconds"),
        "actionStatus": {"@id": f"http://schema.org/{'Completed' if run.status == 'finished' else 'Active'}ActionStatus"},
        "instrument": [{"@id": program["@id"]} for program in programs], "object": [{"@id": "run.toml"}],
        "result": [{"@id": quote(name)} for name in results],
        "additionalProperty": [
            {"@id": f"#{name}"} for name in ("seed", "calls", "core-seconds", "reference-settings", "k-points", "finished")
        ],
    }  # fmt: skip
    grids = {
        structure_name(k + 1, polymorph): k_points_of(row_of(polymorph, run.rows, run.settings.pressure))
        for k, polymorph in enumerate(ranking)
    }
    values = {
        "seed": run.settings.seed,
        "calls": run.calls,
        "core-seconds": round(sum(row.core_seconds for row in run.rows), 3),
        "reference-settings": json.dumps(run.reference_settings, sort_keys=True),
        # Of the polymorphs; the ledger states those of every label.
        "k-points": json.dumps({name: None if grid is None else grid.as_dict() for name, grid in grids.items()}),
        "finished": run.state.finished or "the search was stopped or is running",
    }
    properties = [{"@id": f"#{name}", "@type": "PropertyValue", "name": name, "value": value} for name, value in values.items()]
    files = [_file(folder, name) for name in names]
    metadata = {
        "@id": METADATA, "@type": "CreativeWork", "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }  # fmt: skip
    return [metadata, root, action, *programs, *properties, *files]


def _file(folder: Path, name: str) -> dict[str, Any]:
    """Return the description of a file, with its size in bytes and SHA-256."""
    path = folder / name
    text, kind = KINDS.get(name, (None, SUFFIXES.get(path.suffix)))
    entity: dict[str, Any] = {
        "@id": quote(name), "@type": "File", "name": name, "contentSize": str(path.stat().st_size),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    if text is not None:
        entity["description"] = text
    if kind is not None:
        entity["encodingFormat"] = kind
    return entity
