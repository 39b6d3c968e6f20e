"""Saved answers of OPTIMADE databases (https://www.optimade.org), as JSON with structures under `data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput, quoted


def is_optimade(data: Any) -> bool:
    """Return whether parsed JSON is an answer with OPTIMADE structures."""
    entries = data.get("data") if isinstance(data, dict) else None
    entries = [entries] if isinstance(entries, dict) else entries
    return isinstance(entries, list) and any(isinstance(entry, dict) and "attributes" in entry for entry in entries)


def read_optimade(path: Path, data: dict[str, Any]) -> list[Atoms]:
    """Return the structures of an answer.

    Args:
        path: name of the file, for error messages.
        data: parsed JSON, for which `is_optimade` is true.

    Raises:
        BadInput: an entry has no three-dimensional cell or no positions, or a site is disordered.
    """
    entries = data["data"] if isinstance(data["data"], list) else [data["data"]]
    return [_structure(f"{path}, entry {quoted(str(entry.get('id', number)), 40)}", entry) for number, entry in enumerate(entries)]


def _structure(where: str, entry: Any) -> Atoms:
    attributes = entry.get("attributes") if isinstance(entry, dict) else None
    if not isinstance(attributes, dict):
        raise BadInput(f"{where}: has no attributes; save the whole answer of the database")
    missing = [name for name in ("lattice_vectors", "cartesian_site_positions", "species_at_sites") if attributes.get(name) is None]
    if missing:
        raise BadInput(f"{where}: has no {', '.join(missing)}; ask the database for these fields (response_fields)")
    elements = {}
    for species in attributes.get("species") or []:
        symbols = [symbol for symbol in species.get("chemical_symbols", []) if symbol != "vacancy"]
        if len(species.get("chemical_symbols", [])) != 1 or len(symbols) != 1:
            raise BadInput(f"{where}: the species '{quoted(str(species.get('name')), 20)}' is disordered; give an ordered structure")
        elements[species.get("name")] = symbols[0]
    if attributes.get("dimension_types") not in (None, [1, 1, 1]):
        raise BadInput(f"{where}: is not periodic in three dimensions")
    try:
        symbols = [elements.get(name, name) for name in attributes["species_at_sites"]]
        positions = np.array(attributes["cartesian_site_positions"], dtype=float)
        return Atoms(symbols, positions=positions, cell=np.array(attributes["lattice_vectors"], dtype=float), pbc=True)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{where}: cannot be read ({quoted(str(error))})") from None
