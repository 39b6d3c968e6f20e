"""Kinds of models that the server offers, and what their headers say; nothing but headers is read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from ase.data import chemical_symbols
from safetensors import SafetensorError, safe_open

from nucleate.errors import BadInput, quoted, quoted_path
from nucleate.potentials.files import FIRST_FORMAT, FORMAT

Kind = Literal["potential", "electrons", "couplings"]
NAMES: dict[Kind, str] = {"potential": "a potential", "electrons": "an electron model", "couplings": "a coupling model"}
"""Names of the kinds in messages."""
ELECTRONS, COUPLINGS = "model.safetensors", "model.json"
"""Files that mark the folder of an electron model and of a coupling model."""


def is_model_folder(path: Path) -> bool:
    """Return whether a folder is that of an electron or a coupling model; a training folder of a potential is not."""
    if (path / COUPLINGS).is_file():
        return True
    return (path / ELECTRONS).is_file() and not (path / "fit.toml").is_file() and not (path / "run.toml").is_file()


def model_file(path: Path) -> Path:
    """Return the path by which a model is loaded: the folder of a coupling model, the file of others."""
    return path / ELECTRONS if path.is_dir() and not (path / COUPLINGS).is_file() else path


def model_facts(path: Path) -> dict[str, Any]:
    """Return what the header of a model says, without reading its tensors.

    Args:
        path: file of a potential or an electron model, or folder of a coupling model.

    Returns:
        `kind`; `elements`; `family` of a potential and of a coupling model; `species` and `prior` of a potential; `engine`, `functional`,
        `temperature` (K) and `members` of an electron model; `pairs` (number of training pairs) of a coupling model.

    Raises:
        BadInput: the file is not a model of a kind that the server offers.
    """
    if path.is_dir():
        from nucleate.spins.models.training import pair_model_facts

        facts = pair_model_facts(path)
        return {"kind": "couplings", "elements": facts["elements"], "family": facts["model"], "pairs": facts["pairs"]}
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BadInput(
            f"{quoted_path(path)}: is not a model file ({quoted(str(error), 80)}); give the file of a potential or an electron model, "
            "or the folder of a coupling model"
        ) from None
    if "nucleate_electrons" in header:
        from nucleate.electrons.model.model import electron_model_facts

        facts = electron_model_facts(path)
        return {"kind": "electrons", **facts}
    if header.get("format") in (FORMAT, FIRST_FORMAT):
        return {"kind": "potential", "elements": _elements(header), **{name: header.get(name) for name in ("family", "species", "prior")}}
    if "nucleate_emulator" in header:
        raise BadInput(f"{quoted_path(path)}: is a density emulator; nucleate serve offers potentials, electron models and coupling models")
    raise BadInput(f"{quoted_path(path)}: is not a potential, electron model or coupling model written by nucleate")


def _elements(header: dict[str, str]) -> list[str]:
    """Return the elements of a potential; none if its header does not state them as atomic numbers."""
    try:
        return [chemical_symbols[number] for number in json.loads(header.get("species", "[]"))]
    except (ValueError, TypeError, IndexError):
        return []


def refuse_model(path: Path, kind: Kind | None = None) -> None:
    """Raise `BadInput` for a file that is no model, not of the kind (if one is given), or whose prior is a file that would be unpickled."""
    facts = model_facts(path)
    if kind is not None and facts["kind"] != kind:
        raise BadInput(f"{quoted_path(path)}: is {NAMES[facts['kind']]}, not {NAMES[kind]}; choose another model")
    prior = facts.get("prior")
    if prior is not None and prior.lower().startswith("mace:"):
        raise BadInput(
            f"{quoted_path(path)}: its prior is a MACE file, which is unpickled and can run code; nucleate serve does not load it"
        )
