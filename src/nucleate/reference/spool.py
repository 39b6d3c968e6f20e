"""Files that keep results until they are in the database: those that it could not store, and those that workers on nodes have finished."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nucleate.errors import ReferenceFailed, StorageFailed
from nucleate.persist.files import write_whole
from nucleate.reference.base import Label

BLOCKS = "blocks"
"""Folder of the blocks of a cluster beside a database: while it exists, workers may write results at any time."""
DAMAGED = ".damaged"
"""End of the name of a file that contains no result, which is set aside."""
STALE = 3600.0
"""Age of an incomplete file after which its writer is dead, s."""


class KeptAnswer(BaseModel):
    """Result of a calculation, as stored in a file."""

    model_config = ConfigDict(extra="forbid")

    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    wall_seconds: float
    energy: float | None = None
    forces: list[list[float]] = Field(default_factory=list)
    stress: list[float] = Field(default_factory=list)
    iterations: int = 0
    core_seconds: float = 0.0
    details: dict[str, Any] = Field(default_factory=dict)
    reason: str = ""
    kind: str = ""

    def answer(self) -> Label | ReferenceFailed:
        """Return the label or the failure."""
        if self.energy is None:
            return ReferenceFailed(self.reason, kind=self.kind)
        forces, stress = np.array(self.forces).reshape(-1, 3), np.array(self.stress)
        return Label(self.energy, forces, stress, self.iterations, self.core_seconds, self.details)


def _folders(database: Path) -> list[Path]:
    """Return the folders for results of a database: one beside it, and one in the temporary folder for a full disk."""
    name = hashlib.sha256(str(database.resolve()).encode()).hexdigest()[:16]
    return [database.with_name(database.name + "-kept"), Path(tempfile.gettempdir()) / f"nucleate-kept-{name}"]


def _is_ours(folder: Path) -> bool:
    """Return whether the folder belongs to this user, because other users can write to the temporary folder as well."""
    try:
        return not folder.is_symlink() and folder.is_dir() and folder.stat().st_uid == os.getuid()
    except OSError:
        return False


class Kept(NamedTuple):
    """A result read from a file.

    Attributes:
        path: the file.
        hash: hash of the calculation.
        answer: label or failure.
        wall_seconds: wall time of the calculation, s.
    """

    path: Path
    hash: str
    answer: Label | ReferenceFailed
    wall_seconds: float


def spool_of(database: Path) -> Path:
    """Return the folder beside a database into which workers write finished results; it is created.

    Raises:
        StorageFailed: it cannot be created, or belongs to another user.
    """
    folder = _folders(database)[0].absolute()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot be created: {error.strerror}; free some disk space and resume") from error
    if not _is_ours(folder):
        raise StorageFailed(f"{folder}: belongs to another user or is not a folder; rename it and resume")
    return folder


def write_answer(folder: Path, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> Path:
    """Write a result to a file of its own, whole or not at all; return its path.

    Two workers may have computed the same label, one of them given up too early, so the name contains host and process. A missing folder
    is created: it may have been removed when it was empty.

    Raises:
        StorageFailed: the file could not be written.
    """
    if isinstance(answer, Label):
        forces, stress = np.asarray(answer.forces).tolist(), np.asarray(answer.stress).tolist()
        kept = KeptAnswer(
            hash=key, wall_seconds=wall_seconds, energy=answer.energy, forces=forces, stress=stress,
            iterations=answer.iterations, core_seconds=answer.core_seconds, details=answer.details,
        )  # fmt: skip
    else:
        kept = KeptAnswer(hash=key, wall_seconds=wall_seconds, reason=answer.reason, kind=answer.kind)
    path = folder / f"{key}.{socket.gethostname()[:60]}-{os.getpid()}.json"
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    # JSON is written in ASCII, because messages of engines may contain lone surrogates, which UTF-8 cannot encode.
    write_whole(path, json.dumps(kept.model_dump()))
    return path


def keep_beside(database: Path, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> Path:
    """Write a result to a file beside a database, or in the temporary folder if its disk is full; return its path.

    Raises:
        StorageFailed: no folder has free space.
    """
    for folder in _folders(database):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder):
                return write_answer(folder, key, answer, wall_seconds)
        except (OSError, StorageFailed):
            continue
    raise StorageFailed(f"{database}: the last result could not be saved; free some disk space and resume, which repeats that call")


def _read(path: Path) -> Kept | None:
    """Return the result in a file; None if it contains none. Raise `OSError` if it cannot be read."""
    content = path.read_bytes()
    try:
        kept = KeptAnswer.model_validate(json.loads(content))
        return Kept(path, kept.hash, kept.answer(), kept.wall_seconds)
    except (ValueError, RecursionError, ValidationError):
        return None


def kept_answer(folder: Path, key: str) -> tuple[Label | ReferenceFailed, float] | None:
    """Return result and wall time (s) that a worker has written for one calculation; None if there is none."""
    for path in sorted(folder.glob(f"{key}*.json")):
        with contextlib.suppress(OSError):
            kept = _read(path)
            if kept is not None and kept.hash == key:
                return kept.answer, kept.wall_seconds
    return None


def forget_answer(folder: Path, key: str) -> None:
    """Remove the files of one calculation after it has been recorded in the ledger."""
    forget(folder.glob(f"{key}*.json"))


def kept_files(database: Path) -> list[Path]:
    """Return the files of all stored results of a database."""
    return [path for folder in _folders(database) if _is_ours(folder) for path in sorted(folder.glob("*.json"))]


def kept_answers(files: Iterable[Path]) -> list[Kept]:
    """Return the results in files; files that cannot be read now are left alone, and those without a result are set aside."""
    found = []
    for path in files:
        # A network file system may refuse a file for a moment that can be read the next time.
        with contextlib.suppress(OSError):
            kept = _read(path)
            if kept is None:
                set_aside(path)
            else:
                found.append(kept)
    return found


def set_aside(path: Path) -> None:
    """Rename a file that contains no valid result, so that it is not read again; somebody may still want to look at it."""
    with contextlib.suppress(OSError):
        path.rename(path.with_name(path.name + DAMAGED))


def forget(files: Iterable[Path]) -> None:
    """Remove files whose results have been recorded in the ledger."""
    for path in files:
        with contextlib.suppress(OSError):
            path.unlink()


def forget_kept(database: Path, files: Iterable[Path]) -> None:
    """Remove `files` after they have been recorded in the ledger, incomplete files of dead writers, and folders that are empty then.

    Workers of an earlier process may still be writing, so files that appeared since are kept, and the folder of a run that has or had
    blocks: a worker that does not find it would take it for invisible.
    """
    forget(files)
    for folder in _folders(database):
        if _is_ours(folder):
            for path in folder.glob("*.json.part"):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime > STALE:
                        path.unlink()
            if folder.parent != database.parent or not (database.parent / BLOCKS).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()
