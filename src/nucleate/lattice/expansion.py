"""Cluster expansion: interactions of figures and of distant dipoles, which give the energy of any arrangement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.errors import BadInput, quoted, quoted_path
from nucleate.lattice.correlations import correlations, design_matrix
from nucleate.lattice.dipoles import DipoleTerm
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.figures import Orbit, find_orbits
from nucleate.lattice.labels import read_json
from nucleate.lattice.parent import Parent
from nucleate.lattice.supercells import Supercell
from nucleate.persist.files import write_whole

VERSION = 1
_KIND = "nucleate cluster expansion"


@dataclass(frozen=True)
class ClusterExpansion:
    """Energies of arrangements on a parent lattice.

    Attributes:
        parent: The parent lattice.
        cutoffs: Largest distances of pairs, triplets, ..., Å.
        coefficients: (orbits,) interactions, eV per figure.
        dipoles: The long-range term, or None.
        dipole_strength: Coefficient J_d of the long-range term, eV Å³.
        facts: Errors of the fit and settings of the reference, for the user.
    """

    parent: Parent
    cutoffs: tuple[float, ...]
    coefficients: np.ndarray
    dipoles: DipoleTerm | None = None
    dipole_strength: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def orbits(self) -> list[Orbit]:
        """The classes of figures, in the order of the coefficients."""
        return find_orbits(self.parent, list(self.cutoffs))

    def energies(self, supercell: Supercell, occupations: np.ndarray) -> np.ndarray:
        """Return the (n,) energies of arrangements (n, sites) of one supercell, eV per primitive cell."""
        occupations = np.asarray(occupations)
        result: np.ndarray = correlations(supercell, occupations, self.orbits) @ self.coefficients
        if self.dipoles is not None:
            result = result + self.dipole_strength * self.dipoles.sums(supercell, occupations)
        return result

    def predict(self, arrangements: Sequence[Arrangement]) -> np.ndarray:
        """Return the (n,) energies of arrangements of any supercells, eV per primitive cell."""
        matrix = design_matrix(arrangements, self.orbits, self.dipoles)
        values = self.coefficients if self.dipoles is None else np.append(self.coefficients, self.dipole_strength)
        result: np.ndarray = matrix @ values
        return result

    def rows(self) -> list[dict[str, Any]]:
        """Return the interactions as rows of a table: name, points, length (Å), multiplicity and interaction (eV)."""
        table = [
            {
                "figure": orbit.name(self.parent),
                "points": orbit.points,
                "length": orbit.longest,
                "multiplicity": orbit.multiplicity,
                "interaction": float(value),
            }
            for orbit, value in zip(self.orbits, self.coefficients, strict=True)
        ]
        return table


def write_expansion(path: Path, model: ClusterExpansion) -> None:
    """Write a cluster expansion as JSON; raise `StorageFailed` if that fails."""
    data = {
        "kind": _KIND,
        "version": VERSION,
        "parent": model.parent.as_dict(),
        "cutoffs": list(model.cutoffs),
        "coefficients": model.coefficients.tolist(),
        "figures": [orbit.name(model.parent) for orbit in model.orbits],
        "dipoles": None
        if model.dipoles is None
        else {"beyond": model.dipoles.beyond, "charges": list(model.dipoles.charges), "strength": model.dipole_strength},
        "facts": model.facts,
    }
    write_whole(path, json.dumps(data, indent=1) + "\n")


def read_expansion(path: Path) -> ClusterExpansion:
    """Read the file of `write_expansion`.

    Raises:
        BadInput: the file cannot be read, or is not such a file.
    """
    data = read_json(path, _KIND, VERSION)
    try:
        parent = Parent.from_dict(data["parent"])
        coefficients = np.array(data["coefficients"], dtype=float)
        given = data["dipoles"]
        dipoles = None if given is None else DipoleTerm(float(given["beyond"]), tuple(float(q) for q in given["charges"]))
        if dipoles is not None and len(dipoles.charges) != len(parent.names):
            raise ValueError("the dipoles have another number of species")
        strength = 0.0 if given is None else float(given["strength"])
        model = ClusterExpansion(
            parent, tuple(float(c) for c in data["cutoffs"]), coefficients, dipoles, strength, dict(data.get("facts", {}))
        )
        if coefficients.shape != (len(model.orbits),) or not np.isfinite([*coefficients, strength]).all():
            raise ValueError("the interactions do not fit the figures")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInput(f"{quoted_path(path)}: is damaged ({quoted(str(error), 60)}); fit it again with: nucleate lattice fit") from None
    return model
