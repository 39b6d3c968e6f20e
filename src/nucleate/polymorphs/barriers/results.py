"""Results of barriers, and their JSON data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.persist.json_data import SCHEMA, finite
from nucleate.polymorphs.barriers.band import Band
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.polymorphs.barriers.tree import Tree

EXTRAPOLATION = 3.0
"""Uncertainty along a path above which the committee extrapolates, in units of the larger one of its uncertainties in the two minima."""


@dataclass(frozen=True)
class Minimum:
    """A minimum of the surface: a polymorph, or an intermediate that was found on a path.

    Attributes:
        name: name for tables and files.
        atoms: the structure.
        energy: (m,) enthalpy of each member, eV/atom.
        intermediate: whether it was found on a path.
    """

    name: str
    atoms: Atoms
    energy: np.ndarray
    intermediate: bool = False


@dataclass(frozen=True)
class Connection:
    """A path between two minima.

    Attributes:
        first, second: indices of the minima.
        band: the band.
        members: (m, images) enthalpy per atom of each member, eV.
        strain: (3,) principal logarithmic strains between the ends.
        displacement: root mean square displacement of the atoms of the straight path, Å.
        file: file of the images.
    """

    first: int
    second: int
    band: Band
    members: np.ndarray
    strain: np.ndarray
    displacement: float
    file: Path

    @property
    def atoms(self) -> int:
        """Number of atoms in the common cell."""
        return len(self.band.images[0])

    @property
    def sigma(self) -> np.ndarray:
        """(images,) standard deviation of the enthalpy over the members, eV/atom; zero for one member."""
        if len(self.members) == 1:
            return np.zeros(self.members.shape[1])
        result: np.ndarray = self.members.std(axis=0, ddof=1)
        return result

    @property
    def extrapolates(self) -> bool:
        """Whether the uncertainty along the path is above `EXTRAPOLATION` times that in the minima."""
        ends = max(self.sigma[0], self.sigma[-1])
        return bool(ends > 0 and self.sigma.max() > EXTRAPOLATION * ends)


@dataclass(frozen=True)
class Spot:
    """Enthalpies on the reference at the ends and the highest image of a path.

    Attributes:
        connection: index of the path.
        reference: (3,) enthalpies of the first end, the highest image and the second end on the reference, eV/atom.
        committee: (3,) the same on the committee.
    """

    connection: int
    reference: np.ndarray
    committee: np.ndarray


@dataclass(frozen=True)
class Barrier:
    """Lowest barrier from one polymorph to another through any intermediates, eV/atom.

    Attributes:
        height: height above the first polymorph; None: no path was found.
        spread: standard deviation over the members along the same path; None for one member.
    """

    height: float | None
    spread: float | None


@dataclass(frozen=True)
class BarriersResult:
    """Result of `nucleate.polymorphs.barriers.calculate.barriers`.

    Attributes:
        source: run folder or file.
        out: folder of the results.
        surface: name of the surface.
        surrogate: name of the surrogate whose labels trained the committee; None: no surrogate.
        members: number of members.
        pressure: external pressure, GPa.
        settings: settings.
        minima: the polymorphs, the lowest first, followed by intermediates.
        connections: the paths.
        tree: disconnectivity graph of the minima.
        omitted: what was left out, one line each.
        spot_reference: name of the reference of the spot checks; None without any.
        spots: spot checks.
    """

    source: Path
    out: Path
    surface: str
    surrogate: str | None
    members: int
    pressure: float
    settings: BarrierSettings
    minima: list[Minimum]
    connections: list[Connection]
    tree: Tree
    omitted: list[str]
    spot_reference: str | None
    spots: list[Spot]

    @property
    def polymorphs(self) -> list[int]:
        """Indices of the polymorphs."""
        return [k for k, each in enumerate(self.minima) if not each.intermediate]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of polymorphs, by index."""
        own = self.polymorphs
        return [(i, j) for a, i in enumerate(own) for j in own[a + 1 :]]

    def barrier(self, start: int, end: int) -> Barrier:
        """Return the barrier from one minimum to another."""
        k = int(self.tree.bottleneck[start, end])
        if k < 0:
            return Barrier(None, None)
        height = float(self.tree.heights[start, end] - self.minima[start].energy.mean())
        each = self.connections[k].members.max(axis=1) - self.minima[start].energy
        return Barrier(max(height, 0.0), float(each.std(ddof=1)) if len(each) > 1 else None)

    def bottleneck(self, start: int, end: int) -> Connection | None:
        """Return the path with the highest point of the lowest way between two minima."""
        k = int(self.tree.bottleneck[start, end])
        return None if k < 0 else self.connections[k]

    def as_dict(self) -> dict[str, Any]:
        """Return the data of barriers.json; see docs/json.md."""
        lowest = min(float(each.energy.mean()) for each in self.minima)
        data = {
            "schema": SCHEMA, "source": str(self.source), "out": str(self.out), "surface": self.surface, "surrogate": self.surrogate,
            "members": self.members, "pressure": self.pressure, "settings": self.settings.model_dump(), "omitted": self.omitted,
            "minima": [
                {
                    "name": each.name, "intermediate": each.intermediate, "energy": float(each.energy.mean()),
                    "above_lowest": 1e3 * (float(each.energy.mean()) - lowest), "atoms": len(each.atoms),
                }
                for each in self.minima
            ],
            "paths": [self._path(each) for each in self.connections],
            "pairs": [self._pair(i, j) for i, j in self.pairs],
            "merges": [
                {"height": 1e3 * (each.height - lowest), "left": list(each.left), "right": list(each.right), "path": each.edge}
                for each in self.tree.merges
            ],
            "spot_reference": self.spot_reference,
            "spots": [
                {
                    "path": each.connection,
                    "reference": (1e3 * (each.reference - each.reference[0])).tolist(),
                    "committee": (1e3 * (each.committee - each.committee[0])).tolist(),
                }
                for each in self.spots
            ],
        }  # fmt: skip
        return dict(finite(data))

    def _path(self, each: Connection) -> dict[str, Any]:
        band = each.band
        return {
            "first": each.first, "second": each.second, "file": str(each.file), "atoms": each.atoms,
            "strain": np.round(each.strain, 6).tolist(), "displacement": each.displacement,
            "profile": np.round(1e3 * (band.enthalpy - band.enthalpy[0]), 4).tolist(), "sigma": np.round(1e3 * each.sigma, 4).tolist(),
            "converged": band.converged, "fmax": band.fmax, "steps": band.steps, "extrapolates": each.extrapolates,
        }  # fmt: skip

    def _pair(self, i: int, j: int) -> dict[str, Any]:
        forward, backward = self.barrier(i, j), self.barrier(j, i)
        k = int(self.tree.bottleneck[i, j])
        return {
            "first": i, "second": j, "path": None if k < 0 else k,
            "forward": _milli(forward.height), "backward": _milli(backward.height),
            "forward_spread": _milli(forward.spread), "backward_spread": _milli(backward.spread),
        }  # fmt: skip


def _milli(value: float | None) -> float | None:
    return None if value is None else 1e3 * value
