"""Polymorphs as structures of OPTIMADE, for exchange files and for the route of `nucleate serve`.

M. L. Evans et al., Digital Discovery 3, 1509 (2024), doi 10.1039/D4DD00039K; https://www.optimade.org. The file is that of the appendix
"JSON Lines Format for Database Exchange" of the specification.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from functools import reduce
from math import gcd
from pathlib import Path
from typing import Any, NamedTuple

from ase import Atoms

from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import RunData, package_version, show_data
from nucleate.export.labels import k_points_of, row_of
from nucleate.persist.files import write_whole
from nucleate.persist.json_data import finite
from nucleate.reference.base import content_hash
from nucleate.units import GPA

API_VERSION = "1.1.0"
"""Version of the specification. Version 1.2 describes properties in a form that optimade-python-tools, which most clients use, refuses."""
PREFIX = "_nucleate_"
"""Beginning of the names of properties that the specification does not define."""


class Property(NamedTuple):
    """Description of a property.

    Attributes:
        type: data type of OPTIMADE.
        description: what it is.
        unit: unit of its numbers; None: it has none.
    """

    type: str
    description: str
    unit: str | None = None


_STANDARD = {
    "id": Property("string", "Identifier of the polymorph; it depends on the settings of the search, the structure and its energy."),
    "type": Property("string", "Type of the entry, structures."),
    "last_modified": Property("timestamp", "Time of the last change of the run folder."),
    "elements": Property("list", "Symbols of the elements, in alphabetical order."),
    "nelements": Property("integer", "Number of elements."),
    "elements_ratios": Property("list", "Fraction of each element."),
    "chemical_formula_descriptive": Property("string", "Formula of the calculated cell."),
    "chemical_formula_reduced": Property("string", "Reduced formula with the elements in alphabetical order."),
    "chemical_formula_hill": Property("string", "Formula of the calculated cell in Hill order."),
    "chemical_formula_anonymous": Property("string", "Reduced formula with letters in place of elements, the most frequent first."),
    "dimension_types": Property("list", "1 for each lattice vector along which the structure is periodic, else 0."),
    "nperiodic_dimensions": Property("integer", "Number of lattice vectors along which the structure is periodic."),
    "lattice_vectors": Property("list", "Lattice vectors, as rows; those without periodicity bound the box of the calculation.", "Å"),
    "cartesian_site_positions": Property("list", "Cartesian positions of the atoms.", "Å"),
    "nsites": Property("integer", "Number of atoms in the cell."),
    "species": Property("list", "Species of the sites; each is one element."),
    "species_at_sites": Property("list", "Name of the species of each site."),
    "structure_features": Property("list", "Features that need special handling; always empty."),
}
_OWN = {
    "rank": Property("integer", "Place in the ranking of the search, from 1."),
    "energy_per_atom": Property("float", "Energy on the reference, without the product of pressure and volume, eV per atom.", "eV"),
    "enthalpy_per_atom": Property("float", "Enthalpy on the reference, by which the search ranks, eV per atom.", "eV"),
    "accurate_enthalpy_per_atom": Property("float", "Enthalpy with converged sampling, eV per atom; null: not calculated.", "eV"),
    "above_lowest": Property("float", "Enthalpy above the lowest polymorph, or above the hull of a chemical system, eV per atom.", "eV"),
    "error": Property("float", "Calibrated standard deviation of the committee of potentials for this structure, eV per atom.", "eV"),
    "pressure": Property("float", "Pressure of the search.", "GPa"),
    "space_group": Property("string", "Symbol of the space, layer or point group as found at a tolerance of 0.1 Å."),
    "space_group_number": Property("integer", "Number of the space or layer group; null for clusters."),
    "confirmed": Property("boolean", "Whether the minimum converged on the reference and has no soft mode in its cell that was found."),
    "check": Property("string", "Result of the softest-mode check: minimum, saddle or unchecked."),
    "fmax": Property("float", "Largest residual force.", "eV/Å"),
    "smax": Property("float", "Largest component of residual stress plus pressure.", "GPa"),
    "origin": Property("string", "Generator or operator of the first candidate that reached the polymorph."),
    "found": Property("integer", "Number of candidates that reached the polymorph."),
    "known": Property("string", "Name of the known phase that it is; null: it is none that was given."),
    "reference": Property("string", "Name of the reference."),
    "surrogate": Property("boolean", "Whether the reference is a surrogate and not a first-principles method."),
    "reference_settings_hash": Property("string", "SHA-256 of the settings of the reference; energies of different ones do not compare."),
    "k_points": Property("dictionary", "Divisions, shift (steps) and cell (Å) of the k-point grid; null: the reference has none."),
    "seed": Property("integer", "Random seed of the search."),
    "version": Property("string", "Version of nucleate that wrote the entry."),
}
PROPERTIES: dict[str, Property] = _STANDARD | {PREFIX + name: value for name, value in _OWN.items()}
"""All properties of a structure by name."""
SORTABLE = ("string", "integer", "float", "boolean", "timestamp")
"""Types by which entries can be sorted."""
PROVIDER = {
    "name": "nucleate",
    "description": "Polymorphs found by crystal structure searches with nucleate on this computer",
    "prefix": PREFIX.strip("_"),
}


def structures_info() -> dict[str, Any]:
    """Return the description of the entry type `structures`."""
    properties = {}
    for name, (kind, description, unit) in PROPERTIES.items():
        properties[name] = {"description": description, "type": kind, "sortable": kind in SORTABLE} | ({"unit": unit} if unit else {})
    return {
        "type": "info",
        "id": "structures",
        "description": "Polymorphs of crystal structure searches",
        "properties": properties,
        "formats": ["json"],
        "output_fields_by_format": {"json": list(PROPERTIES)},
    }


def base_info(address: str) -> dict[str, Any]:
    """Return the description of a database at a versioned address."""
    attributes = {
        "api_version": API_VERSION,
        "available_api_versions": [{"url": address, "version": API_VERSION}],
        "formats": ["json"],
        "available_endpoints": ["info", "links", "structures"],
        "entry_types_by_format": {"json": ["structures"]},
        "is_index": False,
    }
    return {"type": "info", "id": "/", "attributes": attributes}


def structures(run: RunData) -> list[dict[str, Any]]:
    """Return the polymorphs of a run as entries, the lowest first.

    Raises:
        RunFolderError: the ledger is damaged.
    """
    changed = max((path.stat().st_mtime for name in ("run.toml", "run.db") if (path := run.path / name).is_file()), default=0.0)
    modified = datetime.datetime.fromtimestamp(changed, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    settings_hash = hashlib.sha256(json.dumps(run.reference_settings, sort_keys=True).encode()).hexdigest()
    search = hashlib.sha256(run.toml.encode()).hexdigest()[:8]
    shown = show_data(run)["polymorphs"]
    entries = []
    for polymorph, data in zip(run.state.ranking(), shown, strict=True):
        grid = k_points_of(row_of(polymorph, run.rows, run.settings.pressure))
        own = {
            "rank": data["rank"],
            "energy_per_atom": _energy(polymorph, run.settings.pressure),
            "enthalpy_per_atom": polymorph.energy,
            "accurate_enthalpy_per_atom": polymorph.accurate,
            "above_lowest": None if data["above_best"] is None else 1e-3 * data["above_best"],
            "error": polymorph.sigma,
            "pressure": run.settings.pressure,
            "space_group": polymorph.space_group,
            "space_group_number": data["space_group_number"],
            "confirmed": polymorph.check != "saddle",
            "check": polymorph.check,
            "fmax": polymorph.fmax,
            "smax": polymorph.smax,
            "origin": polymorph.origin,
            "found": polymorph.found,
            "known": polymorph.known,
            "reference": run.reference,
            "surrogate": run.surrogate,
            "reference_settings_hash": None if run.reference_settings is None else settings_hash,
            "k_points": None if grid is None else grid.as_dict(),
            "seed": run.settings.seed,
            "version": package_version(),
        }
        key = content_hash(polymorph.atoms, {"energy": round(polymorph.energy, 6)})[:16]
        attributes = crystal(polymorph.atoms) | {"last_modified": modified} | {PREFIX + name: value for name, value in own.items()}
        entries.append({"type": "structures", "id": f"{search}-{key}", "attributes": finite(attributes)})
    return entries


def _energy(polymorph: Polymorph, pressure: float) -> float:
    """Return the energy without the product of pressure (GPa) and volume, eV/atom."""
    return polymorph.energy - pressure * GPA * polymorph.atoms.get_volume() / len(polymorph.atoms) if pressure else polymorph.energy


def crystal(atoms: Atoms) -> dict[str, Any]:
    """Return the standard properties of a structure."""
    counts = Counter(atoms.get_chemical_symbols())
    elements = sorted(counts)
    divisor = reduce(gcd, counts.values())
    return {
        "elements": elements,
        "nelements": len(elements),
        "elements_ratios": [counts[symbol] / len(atoms) for symbol in elements],
        "chemical_formula_descriptive": _formula((symbol, counts[symbol]) for symbol in elements),
        "chemical_formula_reduced": _formula((symbol, counts[symbol] // divisor) for symbol in elements),
        "chemical_formula_hill": atoms.get_chemical_formula("hill"),
        "chemical_formula_anonymous": _formula(
            (chr(ord("A") + k), count // divisor) for k, count in enumerate(sorted(counts.values(), reverse=True))
        ),
        "dimension_types": [int(periodic) for periodic in atoms.pbc],
        "nperiodic_dimensions": int(atoms.pbc.sum()),
        "lattice_vectors": atoms.cell.array.tolist(),
        "cartesian_site_positions": atoms.positions.tolist(),
        "nsites": len(atoms),
        "species": [{"name": symbol, "chemical_symbols": [symbol], "concentration": [1.0]} for symbol in elements],
        "species_at_sites": atoms.get_chemical_symbols(),
        "structure_features": [],
    }


def _formula(counts: Iterable[tuple[str, int]]) -> str:
    """Return a formula without the digit 1."""
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts)


def write_optimade(run: RunData, target: Path) -> str:
    """Write a file in JSON Lines: a header, the provider, the descriptions of the database and its properties, and one line a polymorph."""
    entries = structures(run)
    meta = {"api_version": API_VERSION, "data_returned": len(entries), "provider": PROVIDER}
    info = base_info("http://localhost/optimade/v1")
    lines = [{"x-optimade": {"api_version": API_VERSION}}, {"meta": meta}, info, structures_info(), *entries]
    write_whole(target, "".join(json.dumps(line) + "\n" for line in lines))
    return f"{len(entries)} structure{'' if len(entries) == 1 else 's'}"
