"""Random cells without symmetry.

A random cell of the drawn volume, atoms put in one after another where the distances allow it; those that
find no place are dropped in anyway, and all atoms pushed apart like soft spheres until every distance is
kept.
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
from nucleate.generate.tries import PATIENCE, NotPlaced, make_many

CELLS = 60  # cells tried for one structure
POINTS = 24  # random points tried at once for one atom
PUSHES = 80  # soft-sphere steps
TARGET = 1.03  # push a little past the limit, or the last steps crawl


@dataclass(frozen=True, eq=False)
class P1Builder:
    """Builds one structure without symmetry from a seed.

    Attributes:
        packing: distances and volume.
        volume_range: smallest and largest volume factor.
        length_ratio: largest ratio of the cell lengths.
    """

    packing: Packing
    volume_range: tuple[float, float]
    length_ratio: float

    def __call__(self, seed: int) -> Candidate:
        """The candidate of this seed; raises `NotPlaced` if its atoms found no place."""
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
                continue  # some atom would be too close to its own image wherever it sits
            scaled = _scatter(limits, cell, shifts, rng)
            if scaled is None:
                continue
            scaled = scaled % 1.0 % 1.0
            if closest_fit(scaled, cell, limits) < 1.0:
                continue
            numbers = np.array([atomic_numbers[s] for s in packing.symbols])[species]
            details = {"volume": float(abs(np.linalg.det(cell))), "volume_factor": float(factor)}
            return Candidate(Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True), "p1", seed, details)
        raise NotPlaced(f"no room for the atoms in {CELLS} random cells")


def _scatter(limits: np.ndarray, cell: np.ndarray, shifts: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Fractional positions (N, 3) that keep the limits (Å, (N, N)), or None."""
    n = len(limits)
    scaled = np.empty((n, 3))
    crowded = False
    # In random order: species placed first would always get the best places.
    order = rng.permutation(n)
    for rank, atom in enumerate(order):
        before = order[:rank]
        points = rng.random((POINTS, 3))
        squared = squared_distances(points, scaled[before], cell, shifts)
        fit = (squared / (limits[atom, before] ** 2)[None, :, None]).min(axis=(1, 2), initial=np.inf)
        good = fit >= 1.0
        crowded |= not good.any()
        scaled[atom] = points[int(np.argmax(good)) if good.any() else int(np.argmax(fit))]
    return _push_apart(scaled, limits, cell, shifts) if crowded else scaled


def _push_apart(scaled: np.ndarray, limits: np.ndarray, cell: np.ndarray, shifts: np.ndarray) -> np.ndarray | None:
    """Move overlapping atoms away from each other until all limits are kept, or give up."""
    inverse = np.linalg.inv(cell)
    own = np.arange(len(scaled))
    lattice = shifts @ cell
    for _ in range(PUSHES):
        difference = scaled[:, None, :] - scaled[None, :, :]
        difference -= np.round(difference)
        vectors = (difference @ cell)[:, :, None, :] + lattice
        distances = np.sqrt((vectors**2).sum(axis=-1))
        distances[own, own, :] = np.inf  # own images move along; the cell was checked for them
        if (distances >= limits[:, :, None]).all():
            return scaled
        overlap = np.clip(TARGET * limits[:, :, None] - distances, 0.0, None)
        steps = (0.5 * overlap / np.maximum(distances, 1e-3))[..., None] * vectors
        scaled = scaled + steps.sum(axis=(1, 2)) @ inverse
    return None


class P1Generator:
    """Generator of random crystals without symmetry.

    Args:
        counts: atoms of each species in the cell.
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
        """Exactly `n` candidates; raises `GenerationFailed` if they cannot be made."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"{formula_text(self.counts)} without symmetry",
            advice="raise volume_per_atom or volume_range, or lower distance_factor or min_distance",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )
