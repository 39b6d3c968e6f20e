"""Random crystals of diatomic molecules: H2, N2, O2, F2, Cl2, Br2 and I2.

The centres of the molecules are placed like atoms, with or without a space group. Each molecule then gets a direction: that of all
molecules, which keeps inversion centres, or its own. Elements that form such molecules crystallise in them at low pressure, but random
atoms seldom relax into them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii, vdw_radii

from nucleate.generate.base import Candidate
from nucleate.generate.distances import image_shifts, squared_distances
from nucleate.generate.lattices import compact
from nucleate.generate.p1 import P1Builder
from nucleate.generate.packing import make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricBuilder, compatible_fillings
from nucleate.generate.tries import NotPlaced, make_many

ELEMENTS = ("H", "N", "O", "F", "Cl", "Br", "I")
CONTACT = 0.8
"""Smallest distance between atoms of different molecules, relative to the sum of their van der Waals radii (A. Bondi, J. Phys. Chem. 68,
441 (1964), doi 10.1021/j100785a001)."""
FILLING = 2.4
"""Volume of a molecule at volume factor 1, in units of the van der Waals sphere of one atom; about that of the crystals of O2, F2, Cl2."""
DIRECTIONS = 40
"""Number of directions tried for one arrangement of centres."""
CENTRES = 20
"""Number of arrangements of centres tried for one structure."""


def bond_length(symbol: str) -> float:
    """Return the bond length of a diatomic molecule in Å, from ASE's G2 set, or twice the covalent radius."""
    try:
        found = molecule(symbol + "2")
    except KeyError:
        return 2 * float(covalent_radii[atomic_numbers[symbol]])
    return float(found.get_distance(0, 1))


def is_diatomic(counts: dict[str, int]) -> bool:
    """Return whether a composition is an even number of atoms of an element that forms diatomic molecules."""
    return len(counts) == 1 and next(iter(counts)) in ELEMENTS and next(iter(counts.values())) % 2 == 0


@dataclass(frozen=True, eq=False)
class DiatomicBuilder:
    """Builder of one molecular crystal from a random seed.

    Attributes:
        symbol: the element.
        bond: bond length, Å.
        contact: smallest distance between atoms of different molecules, Å.
        centres: builder of the centres of the molecules.
    """

    symbol: str
    bond: float
    contact: float
    centres: SymmetricBuilder | P1Builder

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the molecules could not be placed."""
        rng = np.random.default_rng(seed)
        for _ in range(CENTRES):
            centres = self.centres(int(rng.integers(2**53)))
            parallel = rng.random() < 0.5
            for _ in range(DIRECTIONS):
                atoms = self._oriented(centres.atoms, rng, parallel)
                if atoms is not None:
                    scaled, cell = compact(atoms.get_scaled_positions(), atoms.cell.array)
                    plain = Atoms(numbers=atoms.numbers, scaled_positions=scaled, cell=cell, pbc=True)
                    return Candidate(plain, "diatomic", seed, {"parallel": parallel, "volume": float(abs(np.linalg.det(cell)))})
        raise NotPlaced(f"the molecules could not be placed in {CENTRES} arrangements")

    def _oriented(self, centres: Atoms, rng: np.random.Generator, parallel: bool) -> Atoms | None:
        """Return the crystal with random directions of the molecules; None if two of them are too close."""
        n = len(centres)
        directions = rng.normal(size=(1 if parallel else n, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        half = 0.5 * self.bond * np.broadcast_to(directions, (n, 3))
        positions = np.stack([centres.positions - half, centres.positions + half], axis=1).reshape(-1, 3)
        atoms = Atoms([self.symbol] * (2 * n), positions=positions, cell=centres.cell, pbc=True)
        scaled = atoms.get_scaled_positions()
        squared = squared_distances(scaled, scaled, centres.cell.array, image_shifts(centres.cell.array, self.contact))
        squared[np.arange(2 * n), np.arange(2 * n), 0] = np.inf
        # Each atom has one neighbour, to which it is bonded; any other one, images of its own molecule included, is too close.
        return atoms if (squared < self.contact**2).sum() == 2 * n else None


class DiatomicGenerator:
    """Generator of random crystals of diatomic molecules.

    Args:
        counts: number of atoms of the element, which must satisfy `is_diatomic`.
        settings: volumes, share of symmetric arrangements, time limit and workers.
    """

    name = "diatomic"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        settings = settings or GenerateSettings()
        ((self.symbol, count),) = counts.items()
        self.settings = settings
        radius = float(vdw_radii[atomic_numbers[self.symbol]])
        self.contact = CONTACT * 2 * radius
        volume = settings.volume_per_atom or FILLING * 4 / 3 * math.pi * radius**3 / 2
        # The centres are placed like atoms of twice the volume, at the distance of molecules side by side.
        own = settings.model_copy(update={"volume_per_atom": 2 * volume, "min_distance": {f"{self.symbol}-{self.symbol}": self.contact}})
        centres = {self.symbol: count // 2}
        packing = make_packing(centres, own)
        self.builders: list[SymmetricBuilder | P1Builder] = [
            SymmetricBuilder(packing, settings.volume_range, settings.max_length_ratio, compatible_fillings(centres, None)),
            P1Builder(packing, settings.volume_range, settings.max_length_ratio),
        ]

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        symmetric = int(rng.binomial(n, self.settings.symmetric_share))
        made: list[Candidate] = []
        for builder, number in zip(self.builders, (symmetric, n - symmetric), strict=True):
            if number:
                made += make_many(
                    DiatomicBuilder(self.symbol, bond_length(self.symbol), self.contact, builder),
                    number,
                    rng,
                    what=f"crystals of {self.symbol}2",
                    advice="increase volume_per_atom or volume_range",
                    try_seconds=self.settings.try_seconds,
                    workers=self.settings.workers,
                )
        return made
