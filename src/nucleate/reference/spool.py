"""Files that keep results until they can be written to the database."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nucleate.errors import ReferenceFailed, StorageFailed
from nucleate.persist.files import write_whole
from nucleate.reference.base import Label


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


def keep_beside(database: Path, key: str, answer: Label | ReferenceFailed, wall_seconds: float) -> Path:
    """Write a result to a file; return its path.

    Raises:
        StorageFailed: no folder has free space.
    """
    if isinstance(answer, Label):
        forces, stress = np.asarray(answer.forces).tolist(), np.asarray(answer.stress).tolist()
        kept = KeptAnswer(
            hash=key, wall_seconds=wall_seconds, energy=answer.energy, forces=forces, stress=stress,
            iterations=answer.iterations, core_seconds=answer.core_seconds, details=answer.details,
        )  # fmt: skip
    else:
        kept = KeptAnswer(hash=key, wall_seconds=wall_seconds, reason=answer.reason, kind=answer.kind)
    for folder in _folders(database):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if not _is_ours(folder):
                continue
            # JSON is written in ASCII, because messages of engines may contain lone surrogates, which UTF-8 cannot encode.
            write_whole(folder / f"{key}.json", json.dumps(kept.model_dump()))
            return folder / f"{key}.json"
        except (OSError, StorageFailed):
            continue
    raise StorageFailed(f"{database}: the last result could not be saved; free some disk space and resume, which repeats that call")


def kept_answers(database: Path) -> Iterator[tuple[str, Label | ReferenceFailed, float]]:
    """Iterate over hash, result and wall time of all stored results; unreadable files are skipped."""
    for folder in _folders(database):
        for path in sorted(folder.glob("*.json")) if _is_ours(folder) else []:
            try:
                kept = KeptAnswer.model_validate(json.loads(path.read_text(encoding="utf-8")))
                yield kept.hash, kept.answer(), kept.wall_seconds
            except (OSError, ValueError, RecursionError, ValidationError):
                continue


def forget_kept(database: Path) -> None:
    """Remove the files of stored results after they have been recorded in the ledger."""
    for folder in _folders(database):
        if _is_ours(folder):
            for path in folder.glob("*.json*"):
                with contextlib.suppress(OSError):
                    path.unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()
