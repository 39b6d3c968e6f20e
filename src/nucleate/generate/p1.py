"""Random cells without symmetry.

Atoms are added one after another to a random cell of a random volume, at points that respect the smallest distances. An atom for which
there is no such point is added at the best of the random points, and all atoms are then pushed apart like soft spheres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.formula import formula_text
from nucleate.generate.base import Candidate
from nucleate.generate.distances import closest_fit, image_shifts, squared_distances
from nucleate.generate.lattices import compact, random_conventional
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.soft_spheres import TARGET, push_apart
from nucleate.generate.tries import PATIENCE, NotPlaced, make_many

CELLS = 60
"""Largest number of cells tried for one structure."""
POINTS = 24
"""Number of random points tried for one atom."""


@dataclass(frozen=True, eq=False)
class P1Builder:
    """Builder of one structure without symmetry from a random seed.

    Attributes:
        packing: distances and volume.
        volume_range: smallest and largest volume factor.
        length_ratio: largest ratio of the cell lengths.
    """

    packing: Packing
    volume_range: tuple[float, float]
    length_ratio: float

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the atoms could not be placed."""
        rng = np.random.default_rng(seed)
        packing = self.packing
        species = np.repeat(np.arange(len(packing.symbols)), packing.counts)
        limits = packing.min_distances[np.ix_(species, species)]
        for _ in range(CELLS):
            factor = rng.uniform(*self.volume_range)
            volume = packing.volume_per_atom * packing.n_atoms * factor
            _, cell = compact(np.zeros((1, 3)), random_conventional("triclinic", "P", volume, self.length_ratio, rng))
            shifts = image_shifts(cell, TARGET * float(limits.max()))
            own = np.sqrt(((shifts[1:] @ cell) ** 2).sum(axis=1).min(initial=np.inf))
            if own < limits.diagonal().max():
                continue  # an atom would be too close to its own image at every position
            scaled = _scatter(limits, cell, shifts, rng)
            if scaled is None:
                continue
            scaled = scaled % 1.0 % 1.0
            if closest_fit(scaled, cell, limits) < 1.0:
                continue
            numbers = np.array([atomic_numbers[s] for s in packing.symbols])[species]
            details = {"volume": float(abs(np.linalg.det(cell))), "volume_factor": float(factor)}
            return Candidate(Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True), "p1", seed, details)
        raise NotPlaced(f"the atoms could not be placed in {CELLS} random cells")


def _scatter(limits: np.ndarray, cell: np.ndarray, shifts: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return (N, 3) fractional positions that respect the (N, N) smallest distances (Å), or None."""
    n = len(limits)
    scaled = np.empty((n, 3))
    crowded = False
    # The order is random, because species that are placed first would always have the most space.
    order = rng.permutation(n)
    for rank, atom in enumerate(order):
        before = order[:rank]
        points = rng.random((POINTS, 3))
        squared = squared_distances(points, scaled[before], cell, shifts)
        fit = (squared / (limits[atom, before] ** 2)[None, :, None]).min(axis=(1, 2), initial=np.inf)
        good = fit >= 1.0
        crowded |= not good.any()
        scaled[atom] = points[int(np.argmax(good)) if good.any() else int(np.argmax(fit))]
    return push_apart(scaled, limits, cell, shifts) if crowded else scaled


class P1Generator:
    """Generator of random crystals without symmetry.

    Args:
        counts: number of atoms of each species in the cell.
        settings: volumes, distances, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume.
    """

    name = "p1"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        self.builder = P1Builder(
            make_packing(self.counts, self.settings),
            self.settings.volume_range,
            self.settings.max_length_ratio,
        )

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"{formula_text(self.counts)} without symmetry",
            advice="increase volume_per_atom or volume_range, or reduce distance_factor or min_distance",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )
