"""What the server shows: folders, runs, trainings, models and profiles that were named on the command line, each with an id.

A client names things only by these ids, which are looked up in a table. No part of a request becomes part of a path.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput, quoted, quoted_path
from nucleate.persist.toml import read_settings, validated, without_unset
from nucleate.web.models import is_model_folder, model_file, refuse_model
from nucleate.web.refused import Refused

MOST_RUNS = 500
"""Largest number of runs and trainings in one folder that are listed."""


def id_of(path: Path) -> str:
    """Return the id of a path, the same in every server."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


@dataclass
class Places:
    """Things that the server shows.

    Attributes:
        folders: folders of runs, in which searches are started.
        runs: run folders that were named themselves.
        trainings: training folders that were named themselves.
        models: model files and folders of coupling models that were named.
        profiles: settings of each profile, as nested dictionaries; the key is the name of its file without suffix.
    """

    folders: dict[str, Path] = field(default_factory=dict)
    runs: dict[str, Path] = field(default_factory=dict)
    trainings: dict[str, Path] = field(default_factory=dict)
    models: dict[str, Path] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)

    def all_runs(self) -> dict[str, Path]:
        """Return all run folders by id, those of the folders included."""
        return self.runs | {id_of(path): path for path in self._inside("run.toml")}

    def all_trainings(self) -> dict[str, Path]:
        """Return all training folders by id, those of the folders included."""
        return self.trainings | {id_of(path): path for path in self._inside("fit.toml")}

    def all_models(self) -> dict[str, Path]:
        """Return the model files by id: those named, and the last one of each run and training."""
        found = dict(self.models)
        for folder in [*self.all_runs().values(), *self.all_trainings().values()]:
            candidates = [*sorted((folder / "models").glob("round_*.safetensors"))[-1:], folder / "model.safetensors"]
            found |= {id_of(path): path for path in candidates if path.is_file() and not path.is_symlink()}
        return found

    def run(self, key: str) -> Path:
        """Return the path of a run; raise `Refused` (404) if there is none of this id."""
        return _known(self.all_runs(), key, "run")

    def training(self, key: str) -> Path:
        """Return the path of a training; raise `Refused` (404) if there is none of this id."""
        return _known(self.all_trainings(), key, "training")

    def model(self, key: str) -> Path:
        """Return the path of a model; raise `Refused` (404) if there is none of this id."""
        return _known(self.all_models(), key, "model")

    def folder(self, key: str | None) -> Path:
        """Return the folder of an id, or the only one; raise `Refused` if there is none, or several and no id."""
        if not self.folders:
            raise Refused("no folder for new searches was named; start the server as: nucleate serve DIR", 409)
        if key is None:
            if len(self.folders) > 1:
                raise Refused(f"there are {len(self.folders)} folders for new searches; choose one by its id in `folder`")
            return next(iter(self.folders.values()))
        return _known(self.folders, key, "folder")

    def profile(self, name: str | None) -> dict[str, Any]:
        """Return the settings of a profile, or no settings without a name; raise `Refused` if there is no such profile."""
        if name is None:
            return {}
        return _known(self.profiles, name, "profile")

    def _inside(self, mark: str) -> list[Path]:
        """Return the folders inside the named ones that contain a file of this name; links are left out."""
        found: list[Path] = []
        for folder in self.folders.values():
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue  # The folder does not exist before the first search.
            inside = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
            found += [path for path in inside if (path / mark).is_file()][:MOST_RUNS]
        return found


def _known(table: dict[str, Any], key: str, what: str) -> Any:
    if key not in table:
        raise Refused(f"there is no {what} '{quoted(key, 40)}'", 404)
    return table[key]


def places_of(paths: Sequence[Path], profiles: Iterable[Path] = ()) -> Places:
    """Sort the paths of the command line into run folders, training folders, folders of runs, and models.

    Args:
        paths: folders, and files or folders of models; a folder that does not exist is created by the first search in it. None: this
            folder.
        profiles: settings files in TOML.

    Raises:
        BadInput: a file is not a model that can be shown, a profile is not valid, or two profiles have the same name.
    """
    places = Places()
    for given in paths or [Path()]:
        path = given.expanduser().resolve()
        if path.is_dir() and is_model_folder(path):
            path = model_file(path)
            refuse_model(path)
            table = places.models
        elif path.is_dir() or not (path.exists() or path.suffix):
            table = places.runs if (path / "run.toml").is_file() else places.trainings if (path / "fit.toml").is_file() else places.folders
        elif not path.exists():
            raise BadInput(f"{quoted_path(path)}: no such file or folder; give a folder of runs or a model")
        else:
            refuse_model(path)
            table = places.models
        table[id_of(path)] = path
    for path in profiles:
        name = path.stem
        if name in places.profiles:
            raise BadInput(f"--profile {quoted_path(path)}: there are two profiles named '{quoted(name, 60)}'; rename one of the files")
        data = without_unset(read_settings(path))
        validated(RunSettings, {key: value for key, value in data.items() if key != "molecules"}, quoted_path(path))
        places.profiles[name] = data
    return places
