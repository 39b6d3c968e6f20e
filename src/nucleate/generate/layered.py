"""Random layers: two-dimensional crystals with one of the 80 layer groups, and vacuum along the third lattice vector.

A structure is generated as a symmetric crystal is: a layer group is drawn uniformly from those that fit, then a distribution over its
Wyckoff positions, a random lattice in the plane and a thickness, and finally the orbits are placed one after another. Only the tables are
taken from PyXtal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.lattices import PRIMITIVE
from nucleate.generate.orbits import check_placed, place_orbits, random_placement
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.tries import PATIENCE, make_many
from nucleate.generate.wyckoff import Combination, GroupSites, SiteFilling, read_groups

FLAT = 0.3
"""Fraction of candidates whose free coordinates along the normal are small, because many layers are flat or slightly buckled."""
BUCKLED = 0.8
"""Thickness of these candidates, Å."""
ANGLES = (60.0, 120.0)
"""Range of the angle of an oblique lattice, degrees."""


def layer_groups(largest: int) -> tuple[GroupSites, ...]:
    """Return the 80 layer groups with their sites of at most `largest` atoms in the primitive cell."""
    return read_groups(largest, periodic=2)


def random_plane(number: int, area: float, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random conventional lattice of a layer group.

    Args:
        number: number of the layer group.
        area: area of the conventional cell, Å².
        ratio: largest ratio of the free lengths.
        rng: random number generator.

    Returns:
        (2, 2) lattice vectors as rows, Å.
    """
    longer = np.exp(rng.uniform(0.0, np.log(ratio)))
    if rng.random() < 0.5:
        longer = 1 / longer
    angle = 90.0
    if number <= 7:
        angle = rng.uniform(*ANGLES)
    elif number >= 49:
        longer, angle = 1.0, 90.0 if number <= 64 else 120.0
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    cell = np.array([[1.0, 0.0], [longer * cosine, longer * sine]])
    return np.asarray(cell * np.sqrt(area / abs(np.linalg.det(cell))))


def _near_plane(points: np.ndarray, range: float) -> np.ndarray:
    """Return random points whose third coordinates have a range about zero, in units of the third lattice vector."""
    points[:, 2] = (points[:, 2] - 0.5) * range
    return points


def reduced_plane(cell: np.ndarray) -> np.ndarray:
    """Return the (3, 3) cell of a layer with the shortest vectors in its plane, right-handed; the third vector is kept."""
    a, b = cell[0].copy(), cell[1].copy()
    while True:
        if a @ a > b @ b:
            a, b = b, a
        steps = round(float(a @ b / (a @ a)))
        if steps == 0:
            break
        b = b - steps * a
    reduced = np.array([a, b, cell[2]])
    if np.linalg.det(reduced) < 0:
        reduced[1] = -reduced[1]
    return reduced


@dataclass(eq=False)
class LayerBuilder:
    """Builder of one layer from a random seed.

    Attributes:
        packing: distances and volume.
        volume_range: smallest and largest factor of the area.
        length_ratio: largest ratio of the free cell lengths.
        fillings: distributions over the Wyckoff positions of each compatible layer group.
        thickness: largest distance of two atoms along the normal, Å.
        height: length of the third lattice vector, Å.
    """

    packing: Packing
    volume_range: tuple[float, float]
    length_ratio: float
    fillings: list[SiteFilling]
    thickness: float
    height: float

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the atoms could not be placed."""
        return random_placement(self.fillings, self.place, seed, "layer group")

    def place(self, filling: SiteFilling, combination: Combination, rng: np.random.Generator) -> Candidate | None:
        """Place the atoms on a combination of sites in a random lattice; return None if atoms are too close."""
        group, packing = filling.group, self.packing
        thickness = rng.uniform(0.0, BUCKLED if rng.random() < FLAT else self.thickness)
        factor = rng.uniform(*self.volume_range)
        # A flat layer is as thick as an atom.
        own = packing.volume_per_atom ** (1 / 3)
        area = packing.volume_per_atom * packing.n_atoms * factor / (thickness + own)
        primitive = PRIMITIVE[group.centring]
        plane = random_plane(group.number, area / abs(np.linalg.det(primitive)), self.length_ratio, rng)
        cell = primitive @ np.array([[*plane[0], 0.0], [*plane[1], 0.0], [0.0, 0.0, self.height]])
        placed = place_orbits(group, combination, packing, cell, rng, lambda n: _near_plane(rng.random((n, 3)), thickness / self.height))
        return None if placed is None else self._finish(filling, combination, *placed, cell, factor)

    def _finish(self, filling, combination, scaled, species, cell, factor) -> Candidate:
        """Return the candidate in its reduced cell with the layer in the middle, after a final check of composition and distances."""
        packing, group = self.packing, filling.group
        reduced = reduced_plane(cell)
        scaled = scaled @ cell @ np.linalg.inv(reduced)
        scaled[:, :2] %= 1.0
        scaled[:, 2] += 0.5
        check_placed(f"layer group {group.number}", packing, scaled, species, reduced)
        numbers = np.array([atomic_numbers[s] for s in packing.symbols])[species]
        details = {
            "layer_group": group.number,
            "layer_group_symbol": group.symbol,
            "sites": [{"element": packing.symbols[s], "site": group.sites[i].label} for s, i in combination],
            "thickness": float(np.ptp(scaled[:, 2]) * self.height),
            "area_factor": float(factor),
        }
        atoms = Atoms(numbers=numbers, scaled_positions=scaled, cell=reduced, pbc=(True, True, False))
        return Candidate(atoms, "layer", -1, details)


class LayerGenerator:
    """Generator of random layers with an exact number of atoms in the primitive cell.

    Args:
        counts: number of atoms of each species in the primitive cell.
        thickness: largest distance of two atoms along the normal, Å.
        vacuum: smallest distance between periodic images of the layer, Å.
        settings: volumes, distances, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume or any layer group.
    """

    name = "layer"

    def __init__(self, counts: dict[str, int], thickness: float, vacuum: float, settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        fillings = list(_fitting(self.counts))
        if not fillings:
            raise BadInput(f"{formula_text(self.counts)}: no layer group can hold these atoms in the primitive cell")
        self.builder = LayerBuilder(
            make_packing(self.counts, self.settings), self.settings.volume_range, self.settings.max_length_ratio, fillings, thickness,
            thickness + vacuum,
        )  # fmt: skip

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"layers of {formula_text(self.counts)}",
            advice="increase volume_per_atom, volume_range or layers.thickness, or reduce distance_factor or min_distance",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )


def _fitting(counts: dict[str, int]) -> Iterator[SiteFilling]:
    """Return the layer groups other than p1 that can hold the atoms; p1 if there are no others."""
    sizes = tuple(counts.values())
    groups = layer_groups(max(sizes))
    found = False
    for group in groups[1:]:
        filling = SiteFilling(group, sizes)
        if group.sites and filling.number() > 0:
            filling.forget()
            found = True
            yield filling
    if not found:
        yield SiteFilling(groups[0], sizes)
