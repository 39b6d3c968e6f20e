"""Folder of a training: fit.toml, events.jsonl, steer.jsonl with the user's commands, checkpoint and model.

Checkpoints are safetensors with JSON in the header, replaced as a whole: a kill leaves the old one or the new one.
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

VERSION = 1


class TrainingFolder:
    """Open training folder, locked against other processes.

    Attributes:
        path: the folder.
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
            raise RunFolderError(f"{path}: is not empty and holds no training; choose another --out")
        # Whoever holds the lock writes; the settings are compared under it.
        self._lock = lock_file(path / "lock", f"{path}: another process is training here; steer it, or wait for it")
        try:
            if not present.exists():
                write_whole(present, settings_toml)
            elif present.read_text(encoding="utf-8") != settings_toml:
                raise RunFolderError(f"{path}: holds a training with other settings or data; choose another --out")
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Release the folder."""
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
        """Drop events after the last checkpoint, except the user's commands.

        Args:
            step: of the checkpoint.
            replayed: commands of a replay done at this step before the checkpoint; later ones come again by themselves.
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
        """Write a file of tensors; raises `StorageFailed` with the old one still whole."""
        plain = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        write_whole(self.path / name, save(plain, metadata={"version": str(VERSION), "header": json.dumps(header)}))

    def write(self, name: str, text: str) -> None:
        """Write a file of text as a whole."""
        write_whole(self.path / name, text)

    def copy(self, source: str, target: str) -> None:
        """Give a file's content to another, as a whole."""
        write_whole(self.path / target, (self.path / source).read_bytes())

    def load(self, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """The header and tensors of `save`, or None where there is no such file."""
        return read_tensors(self.path / name) if (self.path / name).is_file() else None


def read_tensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header and tensors of a file.

    Raises:
        BadInput: not such a file, truncated, or from a newer version.
    """
    file = read_tensor_file(path, "file of a training")
    version = file.metadata.get("version", "")
    check_version(int(version) if re.fullmatch(r"[0-9]{1,6}", version) else None, VERSION, path)
    header = from_json(file.metadata.get("header", "null"), f"{path}: its header")
    if not isinstance(header, dict):
        raise BadInput(f"{path}: its header is no table of keys and values; the file is damaged, or none of a training's")
    return header, file.tensors


def read_events(folder: Path) -> list[dict[str, Any]]:
    """All events; a last line cut by a kill is left out."""
    return read_lines(folder / "events.jsonl")


def read_commands(folder: Path) -> list[dict[str, Any]]:
    """Return the user's commands in order."""
    return read_lines(folder / "steer.jsonl")


def add_command(folder: Path, command: dict[str, Any]) -> None:
    """Add a command for a running training.

    Raises:
        BadInput: no training there, or none that runs.
    """
    if not (folder / "fit.toml").is_file():
        raise BadInput(f"{folder}: no training here (fit.toml is missing)")
    if is_locked(folder / "lock"):
        append_line(folder / "steer.jsonl", command)
        return
    ended = any(event["event"] == "finished" for event in read_events(folder))
    raise BadInput(f"{folder}: the training has {'ended' if ended else 'stopped'}; only a running one can be steered")


def pack(state: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """JSON of nested dicts, lists and numbers whose tensors go to `tensors`; see `unpack`."""
    if isinstance(state, Tensor):
        tensors[prefix] = state
        return {"tensor": prefix}
    if isinstance(state, dict):
        return {"dict": [[key, pack(value, tensors, f"{prefix}.{key}")] for key, value in state.items()]}
    if isinstance(state, list | tuple):
        return {"list": [pack(value, tensors, f"{prefix}.{k}") for k, value in enumerate(state)]}
    return {"value": state}


def unpack(content: Any, tensors: dict[str, Tensor], device: torch.device | str) -> Any:
    """The inverse of `pack`; tuples come back as lists.

    Raises:
        BadInput: not what `pack` makes, or tensors that are not there.
    """
    if not isinstance(content, dict) or len(content) != 1:
        raise BadInput("a checkpoint's optimiser is damaged; choose another --out")
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
    raise BadInput("a checkpoint's optimiser is damaged; choose another --out")
