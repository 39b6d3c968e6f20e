"""Folder of a training with fit.toml, events.jsonl, steer.jsonl (commands of the user), checkpoint and model.

Checkpoints are safetensors files with JSON in the header, written atomically, so that a killed process leaves a complete one.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from nucleate.errors import BadInput, RunFolderError
from nucleate.persist.files import append_line, read_lines, write_whole
from nucleate.persist.locks import is_locked, lock_file
from nucleate.persist.tensors import check_version, read_tensor_file
from nucleate.persist.text import from_json
from nucleate.persist.toml import same_settings
from nucleate.training.settings import FitSettings

VERSION = 1
"""Newest version of checkpoints."""


class TrainingFolder:
    """Open training folder, locked against other processes.

    Args:
        path: the folder, which is created if it does not exist.
        settings_toml: text of fit.toml; an existing folder must contain the same settings and sources.

    Raises:
        RunFolderError: the folder has other contents or settings, is in use, or cannot be written.
    """

    def __init__(self, path: Path, settings_toml: str):
        self.path = path
        present = path / "fit.toml"
        if path.exists() and not path.is_dir():
            raise RunFolderError(f"{path}: is a file, not a folder; choose another --out")
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{path}: cannot be written: {error.strerror}") from error
        if not present.exists() and any(entry.name not in ("lock", f"{present.name}.part") for entry in path.iterdir()):
            raise RunFolderError(f"{path}: is not empty and is not a training folder; choose another --out")
        # The settings are compared while the folder is locked, because another process may be writing them.
        self._lock = lock_file(path / "lock", f"{path}: another process is training in this folder; steer it, or wait for it")
        try:
            if not present.exists():
                write_whole(present, settings_toml)
            elif not same_settings(FitSettings, present.read_text(encoding="utf-8"), settings_toml, "source"):
                raise RunFolderError(f"{path}: contains a training with other settings or data; choose another --out")
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Release the lock of the folder."""
        os.close(self._lock)

    def __enter__(self) -> TrainingFolder:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def discard_if_empty(self) -> None:
        """Remove the folder if the training has not started."""
        if (self.path / "events.jsonl").exists():
            return
        for name in ("fit.toml", "prior.jsonl", "lock"):
            (self.path / name).unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def event(self, kind: str, **what: Any) -> None:
        """Append one line to events.jsonl."""
        append_line(self.path / "events.jsonl", {"time": round(time.time(), 3), "event": kind, **what})

    def forget_after(self, step: int, replayed: int) -> None:
        """Remove the events after the last checkpoint, except commands of the user.

        Args:
            step: step of the checkpoint.
            replayed: number of replayed commands at this step that were applied before the checkpoint; later ones will be applied again.
        """
        kept = []
        for event in read_events(self.path):
            if event["event"] == "steer" and event.get("replayed"):
                if event["step"] == step:
                    replayed -= 1
                if event["step"] < step or (event["step"] == step and replayed >= 0):
                    kept.append(event)
            elif event["event"] == "steer" or event.get("step", 0) <= step:
                kept.append(event)
        text = "".join(json.dumps(event) + "\n" for event in kept)
        write_whole(self.path / "events.jsonl", text)

    def save(self, name: str, header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write a file of tensors atomically; raise `StorageFailed` if that is impossible."""
        plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        write_whole(self.path / name, save(plain, metadata={"version": str(VERSION), "header": json.dumps(header)}))

    def write(self, name: str, text: str) -> None:
        """Write a text file atomically."""
        write_whole(self.path / name, text)

    def copy(self, source: str, target: str) -> None:
        """Copy a file atomically."""
        write_whole(self.path / target, (self.path / source).read_bytes())

    def load(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Return header and tensors of a file written by `save`; None if it does not exist."""
        return read_tensors(self.path / name) if (self.path / name).is_file() else None


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors of a file written by `TrainingFolder.save`.

    Raises:
        BadInput: the file is of another kind, truncated, or from a newer version.
    """
    file = read_tensor_file(path, "training file")
    version = file.metadata.get("version", "")
    check_version(int(version) if re.fullmatch(r"[0-9]{1,6}", version) else None, VERSION, path)
    header = from_json(file.metadata.get("header", "null"), f"{path}: header")
    if not isinstance(header, dict):
        raise BadInput(f"{path}: header must be a table of keys and values; the file is damaged or is not a training file")
    return header, file.tensors


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return all events of a training; incomplete lines are skipped."""
    return read_lines(folder / "events.jsonl")


def read_commands(folder: Path) -> list[dict[str, Any]]:
    """Return the commands of the user in order."""
    return read_lines(folder / "steer.jsonl")


def add_command(folder: Path, command: dict[str, Any]) -> None:
    """Add a command for a running training.

    Raises:
        BadInput: the folder contains no training, or it is not running.
    """
    if not (folder / "fit.toml").is_file():
        raise BadInput(f"{folder}: is not a training folder (fit.toml is missing); give the folder of a running training")
    if is_locked(folder / "lock"):
        append_line(folder / "steer.jsonl", command)
        return
    ended = any(event["event"] == "finished" for event in read_events(folder))
    raise BadInput(f"{folder}: the training has {'ended' if ended else 'stopped'}; only a running one can be steered")


def pack(state: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Convert nested dictionaries, lists, numbers and tensors to JSON data; tensors are added to `tensors`. See `unpack`."""
    if isinstance(state, Tensor):
        tensors[prefix] = state
        return {"tensor": prefix}
    if isinstance(state, dict):
        return {"dict": [[key, pack(value, tensors, f"{prefix}.{key}")] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {"list": [pack(value, tensors, f"{prefix}.{k}") for k, value in enumerate(state)]}
    return {"value": state}


def unpack(content: Any, tensors: dict[str, Tensor], device: torch.device | str) -> Any:
    """Convert the result of `pack` back; tuples become lists.

    Raises:
        BadInput: the data are not a result of `pack`, or a tensor is missing.
    """
    if not isinstance(content, dict) or len(content) != 1:
        raise BadInput("the optimiser state of a checkpoint is damaged; choose another --out")
    ((kind, value),) = content.items()
    if kind == "tensor" and isinstance(value, str) and value in tensors:
        return tensors[value].to(device)
    if (
        kind == "dict"
        and isinstance(value, list)
        and all(isinstance(x, list) and len(x) == 2 and isinstance(x[0], str | int) for x in value)
    ):
        return {key: unpack(item, tensors, device) for key, item in value}
    if kind == "list" and isinstance(value, list):
        return [unpack(item, tensors, device) for item in value]
    if kind == "value":
        return value
    raise BadInput("the optimiser state of a checkpoint is damaged; choose another --out")
