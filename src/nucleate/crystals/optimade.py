"""Saved answers of OPTIMADE databases (https://www.optimade.org), as JSON with structures under `data`, and their exchange files.

An exchange file has JSON Lines: a header with `x-optimade`, descriptions, and one entry a line.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, InputNote, quoted


def is_optimade(data: Any) -> bool:
    """Return whether parsed JSON is an answer with OPTIMADE entries; an answer without entries is one as well."""
    entries = data.get("data") if isinstance(data, dict) else None
    if isinstance(entries, dict):
        return "attributes" in entries
    return isinstance(entries, list) and (not entries or any(isinstance(entry, dict) and "attributes" in entry for entry in entries))


def read_optimade(path: Path, data: dict[str, Any]) -> list[Atoms]:
    """Return the structures of an answer; entries of other types are skipped. An `InputNote` says if the answer has further pages.

    Args:
        path: name of the file, for error messages.
        data: parsed JSON, for which `is_optimade` is true.

    Raises:
        BadInput: there is no structure, or one of them has no three-dimensional cell or no positions, or is disordered.
    """
    entries = data["data"] if isinstance(data["data"], list) else [data["data"]]
    found = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise BadInput(f"{path}: entry {number + 1} is not an OPTIMADE entry; save the whole answer of the database")
        if entry.get("type", "structures") == "structures":
            found.append(_structure(f"{path}, entry {quoted(str(entry.get('id', number + 1)), 40)}", entry))
    if not found:
        raise BadInput(f"{path}: the OPTIMADE answer contains no structures")
    meta, links = data.get("meta"), data.get("links")
    if (isinstance(meta, dict) and meta.get("more_data_available") is True) or (isinstance(links, dict) and links.get("next")):
        warnings.warn(InputNote(f"{path}: the database has further structures on the next page, which are not in this file"), stacklevel=2)
    return found


def read_exchange(path: Path, text: str) -> list[Atoms]:
    """Return the structures of an exchange file; descriptions and entries of other types are skipped.

    Args:
        path: name of the file, for error messages.
        text: its content.

    Raises:
        BadInput: the file is not an exchange file, or as for `read_optimade`.
    """
    entries = []
    for number, line in enumerate(text.splitlines()):
        try:
            data = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}: line {number + 1} is not valid JSON ({quoted(str(error))})") from None
        if number == 0 and not (isinstance(data, dict) and isinstance(data.get("x-optimade"), dict)):
            raise BadInput(f"{path}: the first line has no x-optimade; give an exchange file of OPTIMADE, or the suffix of another format")
        if isinstance(data, dict) and data.get("type") == "structures":
            entries.append(data)
    return read_optimade(path, {"data": entries})


def _structure(where: str, entry: dict[str, Any]) -> Atoms:
    """Return the structure of an entry."""
    attributes = entry.get("attributes")
    if not isinstance(attributes, dict):
        raise BadInput(f"{where}: has no attributes; save the whole answer of the database")
    missing = [name for name in ("lattice_vectors", "cartesian_site_positions", "species_at_sites") if attributes.get(name) is None]
    if missing:
        raise BadInput(f"{where}: has no {', '.join(missing)}; ask the database for these fields (response_fields)")
    if attributes.get("dimension_types") not in (None, [1, 1, 1]):
        raise BadInput(f"{where}: is not periodic in three dimensions")
    try:
        elements = dict(_element(where, species) for species in attributes.get("species") or [])
        symbols = [elements.get(name, name) for name in attributes["species_at_sites"]]
        positions = np.array(attributes["cartesian_site_positions"], dtype=float)
        return Atoms(symbols, positions=positions, cell=np.array(attributes["lattice_vectors"], dtype=float), pbc=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where}: cannot be read ({quoted(str(error))})") from None


def _element(where: str, species: dict[str, Any]) -> tuple[str, str]:
    """Return name and element of a species."""
    name, symbols = species["name"], list(species["chemical_symbols"])
    if (
        len(symbols) != 1
        or symbols[0] in ("vacancy", "X")
        or any(abs(float(share) - 1) > 1e-6 for share in species.get("concentration") or [])
    ):
        raise BadInput(f"{where}: the species '{quoted(str(name), 20)}' is disordered; give an ordered structure")
    return name, symbols[0]
