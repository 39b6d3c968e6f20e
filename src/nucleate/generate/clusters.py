"""Random clusters: isolated sets of atoms with a point group, in a cubic box with vacuum.

A structure is generated as a symmetric crystal is: a point group is drawn uniformly from those that fit, then a distribution over its
sites, and finally the orbits are placed one after another in an ellipsoid of random shape.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.clusters import extent
from nucleate.crystals.formula import formula_text
from nucleate.crystals.point_groups import linear
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.orbits import check_placed, place_orbits, random_placement
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.point_group_sites import point_group_sites
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.tries import PATIENCE, make_many
from nucleate.generate.wyckoff import Combination, SiteFilling

STRAIGHT = ("C2v", "D2h")
"""Point groups in which linear clusters are generated; they have the same symmetry in the other groups with an axis."""
SPREAD = 1.7
"""Largest extent of a cluster relative to the diameter of a sphere of its volume, where none is given."""
CHAIN = 5
"""Largest number of atoms of which a chain fits into the largest extent, where none is given."""
SWELLING = 1.0
"""Extent that a cluster may gain in a relaxation beyond the largest one of candidates, Å; images approach one another by as much."""


@dataclass(eq=False)
class ClusterBuilder:
    """Builder of one cluster from a random seed.

    Attributes:
        packing: distances and volume.
        volume_range: smallest and largest factor of the volume.
        length_ratio: largest ratio of the axes of the ellipsoid.
        fillings: distributions over the sites of each compatible point group.
        diameter: largest distance of two atoms, Å.
        box: edge of the cubic box, Å.
    """

    packing: Packing
    volume_range: tuple[float, float]
    length_ratio: float
    fillings: list[SiteFilling]
    diameter: float
    box: float

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the atoms could not be placed."""
        return random_placement(self.fillings, self.place, seed, "point group")

    def place(self, filling: SiteFilling, combination: Combination, rng: np.random.Generator) -> Candidate | None:
        """Place the atoms on a combination of sites in a random ellipsoid; return None if they are too close or too far apart."""
        group, packing = filling.group, self.packing
        factor = rng.uniform(*self.volume_range)
        radius = (0.75 / math.pi * packing.n_atoms * packing.volume_per_atom * factor) ** (1 / 3)
        # The axis z and one perpendicular to it have random lengths, at constant volume.
        stretch = np.exp(rng.uniform(-0.5, 0.5, 2) * np.log(self.length_ratio))
        axes = np.array([stretch[1], 1.0 / stretch[1], 1.0]) * np.array([stretch[0], stretch[0], stretch[0] ** -2]) ** (1 / 3)
        cell = self.box * np.eye(3)
        placed = place_orbits(group, combination, packing, cell, rng, lambda n: _in_ball(n, rng) * axes * radius / self.box)
        if placed is None:
            return None
        scaled, species = placed
        positions = scaled * self.box
        if extent(positions) > self.diameter or (group.symbol not in STRAIGHT and len(species) > 2 and _straight(positions)):
            return None
        scaled = (positions - 0.5 * (positions.max(0) + positions.min(0))) / self.box + 0.5
        check_placed(f"point group {group.symbol}", packing, scaled, species, cell)
        details = {
            "point_group": group.symbol,
            "sites": [{"element": packing.symbols[s], "site": group.sites[i].label.strip()} for s, i in combination],
            "volume_factor": float(factor),
        }
        numbers = np.array([atomic_numbers[s] for s in packing.symbols])[species]
        return Candidate(Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=False), "cluster", -1, details)


def _in_ball(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return (n, 3) points, uniform in the unit ball."""
    points = rng.normal(size=(n, 3))
    points *= (rng.random(n) ** (1 / 3) / np.linalg.norm(points, axis=1))[:, None]
    return points


def _straight(positions: np.ndarray) -> bool:
    return linear(positions - positions.mean(0))


def diameter_of(counts: dict[str, int], diameter: float | None, settings: GenerateSettings) -> float:
    """Return the largest distance of two atoms of candidates, Å.

    Args:
        counts: number of atoms of each species.
        diameter: the setting; None: `SPREAD` times the diameter of a sphere of the volume of the atoms, and at least the length of a chain
            of up to `CHAIN` atoms.
        settings: volumes and distances.

    Raises:
        BadInput: the diameter is smaller than that of the sphere.
    """
    packing = make_packing(counts, settings)
    sphere = 2.0 * (0.75 / math.pi * packing.n_atoms * packing.volume_per_atom) ** (1 / 3)
    if diameter is not None:
        if diameter < sphere:
            raise BadInput(
                f"clusters.diameter = {diameter:g} Å is less than {sphere:.1f} Å, the diameter of a sphere of the volume of "
                f"{formula_text(counts)}; increase it, or leave it out"
            )
        return diameter
    bond = float(packing.min_distances.max()) / settings.distance_factor
    return max(SPREAD * sphere, (packing.n_atoms - 1) * bond if packing.n_atoms <= CHAIN else 0.0)


class ClusterGenerator:
    """Generator of random clusters with an exact number of atoms.

    Args:
        counts: number of atoms of each species.
        diameter: largest distance of two atoms, Å; None: see `diameter_of`.
        vacuum: smallest distance between periodic images of the cluster, Å.
        settings: volumes, distances, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume.
    """

    name = "cluster"

    def __init__(self, counts: dict[str, int], diameter: float | None, vacuum: float, settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        packing = make_packing(self.counts, self.settings)
        self.diameter = diameter_of(self.counts, diameter, self.settings)
        self.builder = ClusterBuilder(
            packing, self.settings.volume_range, self.settings.max_length_ratio, list(_fitting(self.counts)), self.diameter,
            self.diameter + vacuum,
        )  # fmt: skip

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"clusters of {formula_text(self.counts)}",
            advice="increase volume_per_atom, volume_range or clusters.diameter, or reduce distance_factor or min_distance",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )


def _fitting(counts: dict[str, int]) -> Iterator[SiteFilling]:
    """Return the point groups that can hold the atoms; C1 can hold all."""
    sizes = tuple(counts.values())
    for group in point_group_sites(max(sizes)):
        filling = SiteFilling(group, sizes)
        if group.sites and filling.number() > 0:
            filling.forget()
            yield filling
