"""Random crystals with a space group.

A structure is generated in four steps: a space group is drawn uniformly from those whose primitive cell can contain the composition, then a
distribution over its Wyckoff positions uniformly from all distributions, then a random lattice of a random volume, and finally the orbits
are placed one after another at random free coordinates that respect the smallest distances. Only the tables are taken from PyXtal.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.lattices import PRIMITIVE, compact, random_conventional
from nucleate.generate.orbits import Distributions, check_placed, place_orbits, random_placement
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.tries import PATIENCE, make_many
from nucleate.generate.wyckoff import Combination, SiteFilling, space_group_sites

log = logging.getLogger(__name__)

KEPT_TABLES = 64
"""Number of space groups whose tables are kept in memory."""


@dataclass(eq=False)
class SymmetricBuilder:
    """Builder of one symmetric structure from a random seed.

    Attributes:
        packing: distances and volume.
        volume_range: smallest and largest volume factor.
        length_ratio: largest ratio of the free cell lengths.
        fillings: distributions over the Wyckoff positions of each compatible space group.
        origin: origin of the candidates.
    """

    packing: Packing
    volume_range: tuple[float, float]
    length_ratio: float
    fillings: list[SiteFilling]
    origin: str = "symmetric"
    _warm: list[SiteFilling] = field(default_factory=list, repr=False)

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the atoms could not be placed."""
        return random_placement(self.fillings, self.place, seed, "space group", self._keep_warm)

    def _keep_warm(self, filling: SiteFilling) -> None:
        """Keep the tables of this space group, and free those of the oldest one if there are too many."""
        if filling not in self._warm:
            self._warm.append(filling)
        if len(self._warm) > KEPT_TABLES:
            self._warm.pop(0).forget()

    def place(self, filling: Distributions, combination: Combination, rng: np.random.Generator) -> Candidate | None:
        """Place the atoms on a combination of sites in a random lattice; return None if atoms are too close."""
        group, packing = filling.group, self.packing
        factor = rng.uniform(*self.volume_range)
        volume = packing.volume_per_atom * packing.n_atoms * factor
        primitive = PRIMITIVE[group.centring]
        conventional = random_conventional(group.system, group.centring, volume / np.linalg.det(primitive), self.length_ratio, rng)
        cell = primitive @ conventional
        placed = place_orbits(group, combination, packing, cell, rng)
        return None if placed is None else self._finish(filling, combination, *placed, cell, factor)

    def _finish(self, filling, combination, scaled, species, cell, factor) -> Candidate:
        """Return the candidate in its reduced cell, after a final check of composition and distances."""
        packing, group = self.packing, filling.group
        scaled, cell = compact(scaled, cell)
        check_placed(f"space group {group.number}", packing, scaled, species, cell)
        numbers = np.array([atomic_numbers[s] for s in packing.symbols])[species]
        sites = [{"element": packing.symbols[s], "site": group.sites[i].label, "symmetry": group.sites[i].symmetry} for s, i in combination]
        details = {
            "space_group": group.number,
            "space_group_symbol": group.symbol,
            "sites": sites,
            "volume": float(abs(np.linalg.det(cell))),
            "volume_factor": float(factor),
        }
        return Candidate(Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True), self.origin, -1, details)


class SymmetricGenerator:
    """Generator of random symmetric crystals with an exact number of atoms in the primitive cell.

    Args:
        counts: number of atoms of each species in the primitive cell.
        settings: volumes, distances, space groups, time limit and workers.

    Raises:
        BadInput: the composition does not fit the volume or any of the requested space groups.
    """

    name = "symmetric"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        self.counts = dict(counts)
        self.settings = settings or GenerateSettings()
        packing = make_packing(self.counts, self.settings)
        fillings = compatible_fillings(self.counts, self.settings.space_groups)
        self.builder = SymmetricBuilder(packing, self.settings.volume_range, self.settings.max_length_ratio, fillings)

    @property
    def space_groups(self) -> list[int]:
        """International numbers of the space groups that are used."""
        return [filling.group.number for filling in self.builder.fillings]

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        return make_many(
            self.builder,
            n,
            rng,
            what=f"symmetric {formula_text(self.counts)}",
            advice="increase volume_per_atom or volume_range, reduce distance_factor or min_distance, or allow more space_groups",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
            patience=math.inf if self.settings.estimated else PATIENCE,
        )


def compatible_fillings(counts: dict[str, int], space_groups: tuple[int, ...] | None = None) -> list[SiteFilling]:
    """Return the space groups whose Wyckoff positions can contain exactly these atoms.

    Args:
        counts: number of atoms of each species in the primitive cell.
        space_groups: numbers of the space groups to consider; None for all except P1.

    Raises:
        BadInput: none of the space groups can contain the atoms.
    """
    sizes = tuple(counts.values())
    groups = space_group_sites(max(sizes))
    wanted = space_groups or tuple(range(2, 231))
    fillings: list[SiteFilling] = []
    refused: list[SiteFilling] = []
    for number in wanted:
        filling = SiteFilling(groups[number - 1], sizes)
        (fillings if filling.number() > 0 else refused).append(filling)
        filling.forget()
    names = ", ".join(f"{f.group.symbol} ({f.group.number})" for f in refused[:5]) + (" ..." if refused[5:] else "")
    if not fillings:
        raise BadInput(
            f"{formula_text(counts)}: no Wyckoff positions of {names} add up to these atoms in the primitive "
            "cell; use other space_groups or another number of formula units"
        )
    if space_groups and refused:
        log.warning("%s: space groups that cannot contain this composition are not used: %s", formula_text(counts), names)
    return fillings
