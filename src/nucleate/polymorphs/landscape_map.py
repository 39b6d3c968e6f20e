"""Map of the structures of a search: two coordinates in which similar structures are close, and the families of the polymorphs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.csp.records import enthalpy_per_atom
from nucleate.csp.run_data import RunData, package_version
from nucleate.fingerprints.matching import periodic
from nucleate.fingerprints.nearest_distances import NearestDistances
from nucleate.fingerprints.pointwise_distances import PointwiseDistances
from nucleate.persist.files import write_whole
from nucleate.polymorphs.families import families

CUTOFF = 10.0
"""Largest distance of neighbours on the map, Å. The stackings of close-packed spheres differ from 1.63 times the shortest distance on."""
MOST_POLYMORPHS = 150
"""Largest number of polymorphs on the map; the time to find families grows fast."""
WINDOW = 0.5
"""Height up to which labelled structures are on the map, eV/atom above the lowest polymorph."""
MOST_LABELS = 400
"""Largest number of labelled structures on the map, the lowest ones."""


@dataclass(frozen=True)
class LandscapeMap:
    """Polymorphs and labelled structures of a search in two coordinates.

    Attributes:
        structures: polymorphs in the order of their rank, then labelled structures.
        energies: (n,) energy or enthalpy above the lowest polymorph, eV/atom.
        coordinates: (n, 2) principal components of the fingerprints, Å.
        explained: (2,) shares of the variance of the fingerprints.
        families: (n_polymorphs,) family of each polymorph, from 0.
    """

    structures: list[Atoms]
    energies: np.ndarray
    coordinates: np.ndarray
    explained: np.ndarray
    families: np.ndarray


def landscape_map(run: RunData) -> LandscapeMap | None:
    """Return the map of a search; None if it has no polymorph or fewer than three structures, or is one of a chemical system."""
    ranking = run.state.ranking()[:MOST_POLYMORPHS]
    if run.settings.system is not None or not ranking:
        return None
    best = ranking[0].energy
    labelled = sorted(
        (
            (enthalpy_per_atom(row.atoms, row.label, run.settings.pressure) - best, k)
            for k, row in enumerate(run.crystals)
            if row.label is not None
        )
    )
    chosen = [(height, run.crystals[k].atoms) for height, k in labelled if height < WINDOW][:MOST_LABELS]
    structures = [*(p.atoms for p in ranking), *(atoms for _, atoms in chosen)]
    if len(structures) < 3:
        return None
    species = run.settings.species
    coordinates, explained = principal_components(
        NearestDistances(species, cutoff=CUTOFF).describe(CrystalBatch.from_atoms(structures)).numpy()
    )
    fingerprint = PointwiseDistances(species)
    # Layers and clusters have vacuum; their neighbours are counted as in a crystal with the same cell.
    rows = fingerprint.describe(CrystalBatch.from_atoms([periodic(p.atoms) for p in ranking]))
    energies = np.array([*(p.energy - best for p in ranking), *(height for height, _ in chosen)])
    return LandscapeMap(structures, energies, coordinates, explained, families(fingerprint.distances(rows, rows)))


def principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two principal components of (n, d) vectors, (n, 2), and the shares of the variance that they explain, (2,).

    The sign of each component is such that its largest value is positive.
    """
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left * values)[:, :2]
    scores = np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))
    scores = scores * np.where(scores.max(0) < -scores.min(0), -1.0, 1.0)
    total = max(float((values**2).sum()), 1e-300)
    return scores, np.pad(values[:2] ** 2 / total, (0, max(0, 2 - len(values))))


def write_chemiscope(run: RunData, data: LandscapeMap, path: Path) -> None:
    """Write the map of a run as JSON for the viewer chemiscope.

    G. Fraux, R. Cersonsky and M. Ceriotti, J. Open Source Softw. 5, 2117 (2020), doi 10.21105/joss.02117.
    """
    write_whole(path, json.dumps(chemiscope_data(run, data)))


def chemiscope_data(run: RunData, data: LandscapeMap) -> dict[str, Any]:
    """Return the map in chemiscope's format."""
    ranking = run.state.ranking()[: len(data.families)]
    others = len(data.structures) - len(ranking)

    def entry(values: Any, unit: str = "", description: str = "") -> dict[str, Any]:
        return {"target": "structure", "values": list(values), "units": unit, "description": description}

    return {
        "meta": {
            "name": f"{run.settings.name}: polymorphs and labelled structures",
            "description": f"Search with nucleate {package_version()} on {run.reference}.",
        },
        "structures": [chemiscope_structure(atoms) for atoms in data.structures],
        "properties": {
            "coordinate 1": entry(data.coordinates[:, 0].tolist(), "Å", "First principal component of the nearest distances."),
            "coordinate 2": entry(data.coordinates[:, 1].tolist(), "Å", "Second principal component of the nearest distances."),
            "energy above best": entry((1e3 * data.energies).tolist(), "meV/atom", "Energy or enthalpy above the lowest polymorph."),
            "volume": entry([atoms.get_volume() / len(atoms) for atoms in data.structures], "Å³/atom"),
            "kind": entry(["polymorph"] * len(ranking) + ["labelled"] * others),
            "space group": entry([p.space_group for p in ranking] + ["-"] * others),
            "rank": entry([*range(1, len(ranking) + 1), *[0] * others], description="Rank of a polymorph; 0 for labelled structures."),
            "family": entry([f"family {k + 1}" for k in data.families] + ["-"] * others),
            "origin": entry([p.origin for p in ranking] + ["-"] * others),
        },
        "settings": {
            "map": {
                "x": {"property": "coordinate 1"},
                "y": {"property": "coordinate 2"},
                "color": {"property": "energy above best"},
                "symbol": "kind",
            },
            "structure": [{"unitCell": bool(data.structures[0].pbc.any())}],
        },
    }


def chemiscope_structure(atoms: Atoms) -> dict[str, Any]:
    """Return a structure in chemiscope's format."""
    structure = {
        "size": len(atoms),
        "names": atoms.get_chemical_symbols(),
        **{axis: atoms.positions[:, k].round(6).tolist() for k, axis in enumerate("xyz")},
    }
    return structure if not atoms.pbc.any() else {**structure, "cell": atoms.cell.array.ravel().round(6).tolist()}
