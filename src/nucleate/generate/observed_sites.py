"""Random crystals on the Wyckoff positions of known crystals.

A space group with a set of Wyckoff positions is drawn as often as known crystals suggest, then an assignment of the species to its orbits.
Lattice, volume and free coordinates are random, as those of other symmetric crystals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.orbits import random_placement
from nucleate.generate.packing import make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricBuilder
from nucleate.generate.tries import PATIENCE, make_many
from nucleate.generate.wyckoff import Combination
from nucleate.generate.wyckoff_statistics import ObservedFilling, observed_fillings


@dataclass(frozen=True, eq=False)
class ObservedSitesBuilder:
    """Builder of one structure from a random seed.

    Attributes:
        symmetric: places atoms on given Wyckoff positions.
        fillings: the Wyckoff positions of known crystals that fit the composition.
        weights: (n_fillings,) their relative frequencies.
    """

    symmetric: SymmetricBuilder
    fillings: tuple[ObservedFilling, ...]
    weights: np.ndarray

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the atoms could not be placed."""
        return random_placement(self.fillings, self.place, seed, "known crystals", weights=self.weights)

    def place(self, filling: ObservedFilling, combination: Combination, rng: np.random.Generator) -> Candidate | None:
        """Place the atoms in a random lattice; return None if atoms are too close."""
        candidate = self.symmetric.place(filling, combination, rng)
        if candidate is not None:
            candidate.details["known_crystals"] = filling.crystals
        return candidate


class ObservedSitesGenerator:
    """Generator of random crystals on the Wyckoff positions of known crystals.

    Args:
        counts: number of atoms of each species in the primitive cell.
        settings: volumes, distances, space groups, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume, or the Wyckoff positions of no known crystal.
    """

    name = "wyckoff"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        packing = make_packing(self.counts, self.settings)
        fillings = observed_fillings(tuple(self.counts.values()), self.settings.space_groups)
        if not fillings:
            raise BadInput(
                f"{formula_text(self.counts)}: no Wyckoff positions of known crystals give these atoms in the primitive cell"
                f"{'' if self.settings.space_groups is None else ' with these space_groups'}; leave prototypes out with --no-prototypes"
            )
        places = SymmetricBuilder(packing, self.settings.volume_range, self.settings.max_length_ratio, [], origin=self.name)
        self.builder = ObservedSitesBuilder(places, fillings, np.array([filling.weight() for filling in fillings]))

    def __len__(self) -> int:
        """Return the number of sets of Wyckoff positions."""
        return len(self.builder.fillings)

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"{formula_text(self.counts)} on Wyckoff positions of known crystals",
            advice="increase volume_per_atom or volume_range, reduce distance_factor or min_distance, or set prototype_share = 0",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )
