"""Candidates with the structures of known crystals: the prototypes of the AFLOW library with the elements of the search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.distances import closest_fit
from nucleate.generate.lattices import compact
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.prototype_entries import Entry, matching_entries
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.tries import PATIENCE, NotPlaced, make_many

UNDISTORTED = 0.5
"""Fraction of candidates that have the positions and the shape of the cell of the prototype; the others are distorted."""
STRAIN = 0.03
"""Largest standard deviation of the components of the strain of distorted candidates."""
RATTLE = 0.1
"""Largest standard deviation of the displacements of distorted candidates, Å."""
OWN_DISTANCE = 0.9
"""Smallest distance as a fraction of that in the prototype at the estimated volume, where this is below the estimate from radii: known
crystals contain pairs, such as S-S in pyrite, that are closer than random candidates may be."""
SMALLEST_DISTANCE = 0.65
"""Smallest distance as a fraction of the sum of covalent radii, whatever that of the prototype is."""
MOST_SWOLLEN = 2.5
"""Largest volume factor of a candidate; prototypes whose smallest distances need more do not fit the elements."""
SUPERCELL = 0.5
"""Frequency of a prototype as a supercell, relative to one whose primitive cell has the right number of atoms."""
SUBSTITUTION_SHARE = 0.5
"""Fraction of candidates that are drawn by the probabilities of ionic substitution, where they are known."""


@dataclass(frozen=True, eq=False)
class FittedEntry:
    """A prototype with the smallest distances of its candidates.

    Attributes:
        entry: the prototype with its assignment.
        limits: (S, S) smallest distance between atoms of two species, Å.
        smallest_factor: volume factor above which the undistorted crystal respects the distances.
    """

    entry: Entry
    limits: np.ndarray
    smallest_factor: float


@dataclass(frozen=True, eq=False)
class PrototypeBuilder:
    """Builder of one structure from a random seed.

    Attributes:
        packing: distances and volume.
        fitted: prototypes that fit the composition.
        weights: (n,) relative frequencies.
        volume_range: smallest and largest volume factor.
    """

    packing: Packing
    fitted: tuple[FittedEntry, ...]
    weights: np.ndarray
    volume_range: tuple[float, float]

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the distorted prototype needs too large a volume."""
        rng = np.random.default_rng(seed)
        fitted = self.fitted[int(rng.choice(len(self.fitted), p=self.weights / self.weights.sum()))]
        entry, packing = fitted.entry, self.packing
        atoms = entry.atoms(packing.symbols)
        volume = packing.volume_per_atom * packing.n_atoms
        # Displacements are those of a crystal with the estimated volume.
        atoms.set_cell(atoms.cell.array * (volume / atoms.get_volume()) ** (1.0 / 3.0), scale_atoms=True)
        factor = float(rng.uniform(*self.volume_range))
        strain = rattle = 0.0
        if rng.random() >= UNDISTORTED:
            strain, rattle = float(rng.uniform(0.0, STRAIN)), float(rng.uniform(0.0, RATTLE))
            _distort(atoms, strain, rattle, rng)
        scaled, cell = atoms.get_scaled_positions(), atoms.cell.array
        cell = cell * (factor * volume / abs(np.linalg.det(cell))) ** (1.0 / 3.0)
        species = np.repeat(np.arange(len(packing.symbols)), packing.counts)
        fit = closest_fit(scaled, cell, fitted.limits[np.ix_(species, species)])
        if fit < 1.0:
            cell, factor = cell / fit, factor / fit**3
        if factor > max(MOST_SWOLLEN, self.volume_range[1]):
            raise NotPlaced(f"atoms of distorted {entry.prototype.name} are too close")
        scaled, cell = compact(scaled, cell)
        details = {
            "prototype": entry.prototype.name,
            "label": entry.prototype.label,
            "strukturbericht": entry.prototype.strukturbericht,
            "space_group": entry.prototype.space_group,
            "assignment": dict(entry.assignment),
            "copies": entry.copies,
            "strain": strain,
            "rattle": rattle,
            "volume": float(abs(np.linalg.det(cell))),
            "volume_factor": factor,
        }
        return Candidate(Atoms(numbers=atoms.numbers, scaled_positions=scaled, cell=cell, pbc=True), "prototype", seed, details)


class PrototypeGenerator:
    """Generator of the prototypes of the AFLOW library with the elements of a composition.

    Half of the candidates are undistorted, so that they keep the symmetry of the prototype, at a random volume. The others have a small
    random strain and displacements.

    Args:
        counts: number of atoms of each species in the cell.
        settings: volumes, distances, space groups, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume, or no prototype.
    """

    name = "prototype"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        packing = make_packing(self.counts, self.settings)
        fitted = _fitted(packing, self.settings)
        if not fitted:
            raise BadInput(f"{formula_text(self.counts)}: no prototype has this composition; leave prototypes out with --no-prototypes")
        weights = _weights([one.entry for one in fitted])
        self.builder = PrototypeBuilder(packing, tuple(fitted), weights, self.settings.volume_range)

    @staticmethod
    def applicable(counts: dict[str, int], settings: GenerateSettings | None = None) -> bool:
        """Return whether there is a prototype of a composition."""
        return bool(entries(counts, settings))

    def __len__(self) -> int:
        """Return the number of prototypes, counted once for each assignment."""
        return len(self.builder.fitted)

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"prototypes of {formula_text(self.counts)}",
            advice="increase volume_per_atom or volume_range, reduce distance_factor or min_distance, or set prototype_share = 0",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )


def entries(counts: dict[str, int], settings: GenerateSettings | None = None) -> list[str]:
    """Return the prototypes of a composition with their assignments, such as `Corundum, A2B3_hR10_167_c_e, Al: Al, O: O`."""
    settings = settings or GenerateSettings()
    return [fitted.entry.name for fitted in _fitted(make_packing(counts, settings), settings)]


def _fitted(packing: Packing, settings: GenerateSettings) -> list[FittedEntry]:
    """Return the prototypes of a composition whose smallest distances allow a sensible volume."""
    counts = dict(zip(packing.symbols, packing.counts, strict=True))
    every = [_fit(entry, packing, settings) for entry in matching_entries(counts, settings.space_groups)]
    return [fitted for fitted in every if fitted.smallest_factor <= MOST_SWOLLEN]


def _fit(entry: Entry, packing: Packing, settings: GenerateSettings) -> FittedEntry:
    """Return a prototype with its smallest distances."""
    own = entry.closest(packing.symbols) * packing.volume_per_atom ** (1.0 / 3.0)
    radii = covalent_radii[[atomic_numbers[symbol] for symbol in packing.symbols]]
    reduced = np.maximum(OWN_DISTANCE * own, SMALLEST_DISTANCE * (radii[:, None] + radii))
    limits = np.minimum(packing.min_distances, reduced)
    for pair in settings.min_distance:
        i, j = (packing.symbols.index(symbol) for symbol in pair.split("-"))
        limits[i, j] = limits[j, i] = packing.min_distances[i, j]
    return FittedEntry(entry, limits, float((own / limits).min()) ** -3)


def _distort(atoms: Atoms, strain: float, rattle: float, rng: np.random.Generator) -> None:
    """Strain the cell and displace the atoms by random numbers with these standard deviations (the displacements in Å)."""
    random = rng.normal(scale=strain, size=(3, 3))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (random + random.T)), scale_atoms=True)
    atoms.positions += rng.normal(scale=rattle, size=atoms.positions.shape)


def _weights(chosen: Sequence[Entry]) -> np.ndarray:
    """Return the (n,) frequencies of prototypes.

    Cells of the right size are preferred to supercells. One share of the frequencies is also proportional to the probability of the
    substitution of ions.
    """
    weights = np.array([1.0 if entry.copies == 1 else SUPERCELL for entry in chosen])
    logs = np.array([-np.inf if entry.log_probability is None else entry.log_probability for entry in chosen])
    weights /= weights.sum()
    if not np.isfinite(logs).any():
        return weights
    likely = weights * np.exp(logs - logs.max())
    return (1.0 - SUBSTITUTION_SHARE) * weights + SUBSTITUTION_SHARE * likely / likely.sum()
