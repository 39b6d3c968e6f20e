"""Random crystals that contain diatomic units: molecules such as O2, and pairs of anions as in peroxides, disulphides and carbides.

The centres of the units are placed like atoms among the other atoms, with or without a space group. Each unit then gets a direction: one
that keeps the space group, that of all units, or its own. Random atoms seldom relax into such units.

The number of units follows from the 8 - N rule: anions that lack electrons to fill their shells bond to each other, and each bond makes
up for two electrons. H, N, O, F, Cl, Br and I without another element are molecules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii, vdw_radii

from nucleate.crystals.formula import formula_text
from nucleate.generate.base import Candidate
from nucleate.generate.distances import image_shifts, squared_distances
from nucleate.generate.lattices import compact
from nucleate.generate.p1 import P1Builder
from nucleate.generate.packing import Packing, make_packing
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.symmetric import SymmetricBuilder, compatible_fillings
from nucleate.generate.tries import NotPlaced, make_many

MOLECULES = ("H", "N", "O", "F", "Cl", "Br", "I")
"""Elements whose crystals consist of diatomic molecules."""
FULL_SHELL = {"H": 1, "C": 4, "N": 3, "P": 3, "As": 3, "O": 2, "S": 2, "Se": 2, "Te": 2, "F": 1, "Cl": 1, "Br": 1, "I": 1}
"""Number of electrons that an atom lacks to fill its shell, of the elements that occur as pairs of anions."""
CENTRE = "X"
"""Symbol of the centre of a unit."""
CONTACT = 0.8
"""Smallest distance between atoms of different units, relative to the sum of their van der Waals radii (A. Bondi, J. Phys. Chem. 68,
441 (1964), doi 10.1021/j100785a001)."""
FILLING = 2.4
"""Volume of a molecule at volume factor 1, in units of the van der Waals sphere of one atom; about that of the crystals of O2, F2, Cl2."""
DIRECTIONS = 40
"""Number of sets of directions tried for one arrangement of centres."""
CENTRES = 20
"""Number of arrangements of centres tried for one structure."""
SAME = 1e-3
"""Largest distance of a centre from its image by a symmetry operation, Å."""


def bond_length(symbol: str) -> float:
    """Return the bond length of a diatomic molecule in Å, from ASE's G2 set, or twice the covalent radius."""
    try:
        # Every process would wait for this module.
        from ase.build import molecule

        found = molecule(symbol + "2")
    except KeyError:
        return 2 * float(covalent_radii[atomic_numbers[symbol]])
    return float(found.get_distance(0, 1))


@dataclass(frozen=True)
class Units:
    """Diatomic units of a composition.

    Attributes:
        symbol: the element.
        number: number of units in the cell.
        bond: bond length, Å.
    """

    symbol: str
    number: int
    bond: float


def diatomic_units(counts: dict[str, int]) -> Units | None:
    """Return the diatomic units to expect in a composition, or None.

    They are those of the most electronegative element. In a compound there is one for each two electrons that the other elements, in
    their highest common oxidation states, cannot give: one O2 in Li2O2 and in LiO2, none in Li2O or TiO2, one S2 in FeS2.

    Args:
        counts: number of atoms of each species in the cell.
    """
    from pymatgen.core import Element

    if len(counts) == 1:
        ((symbol, count),) = counts.items()
        return Units(symbol, count // 2, bond_length(symbol)) if symbol in MOLECULES and count % 2 == 0 else None
    anion = max(counts, key=lambda symbol: Element(symbol).X)
    if anion not in FULL_SHELL:
        return None
    highest = {symbol: max(Element(symbol).common_oxidation_states, default=0) for symbol in counts if symbol != anion}
    missing = FULL_SHELL[anion] * counts[anion] - sum(max(0, state) * counts[symbol] for symbol, state in highest.items())
    number = min(counts[anion] // 2, math.ceil(missing / 2))
    # Bonds of pairs of anions are longer than those of molecules: 1.5 Å in peroxides, 1.2 Å in O2.
    bond = max(bond_length(anion), 2 * float(covalent_radii[atomic_numbers[anion]]))
    return Units(anion, number, bond) if number > 0 else None


@dataclass(frozen=True, eq=False)
class DiatomicBuilder:
    """Builder of one crystal with diatomic units from a random seed.

    Attributes:
        units: the units.
        packing: smallest distances (Å) between atoms that are not bonded, for all species.
        centres: builder of the centres of the units, with the symbol `CENTRE`, and of the other atoms.
    """

    units: Units
    packing: Packing
    centres: SymmetricBuilder | P1Builder

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the units could not be placed."""
        rng = np.random.default_rng(seed)
        for _ in range(CENTRES):
            made = self.centres(int(rng.integers(2**53)))
            kind = str(rng.choice(["symmetric", "parallel", "free"], p=[0.5, 0.25, 0.25]))
            orbits = _orbits(made.atoms) if kind == "symmetric" else []
            for _ in range(DIRECTIONS):
                directions = _symmetric(orbits, rng) if orbits else _random(self.units.number, kind == "parallel", rng)
                atoms = self._with_units(made.atoms, directions)
                if atoms is not None:
                    scaled, cell = compact(atoms.get_scaled_positions(), atoms.cell.array)
                    plain = Atoms(numbers=atoms.numbers, scaled_positions=scaled, cell=cell, pbc=True)
                    details = {"units": f"{self.units.number} {self.units.symbol}2", "directions": kind}
                    return Candidate(plain, "diatomic", seed, {**details, "volume": float(abs(np.linalg.det(cell)))})
        raise NotPlaced(f"the diatomic units could not be placed in {CENTRES} arrangements")

    def _with_units(self, made: Atoms, directions: np.ndarray) -> Atoms | None:
        """Return the crystal with units along (n_units, 3) directions in place of their centres; None if atoms are too close."""
        centre = made.numbers == 0
        half = 0.5 * self.units.bond * directions
        where = made.positions[centre]
        ends = np.stack([where - half, where + half], axis=1).reshape(-1, 3)
        symbols = np.array([*np.array(made.get_chemical_symbols())[~centre], *[self.units.symbol] * len(ends)])
        positions = np.concatenate([made.positions[~centre], ends])
        order = np.argsort([self.packing.symbols.index(symbol) for symbol in symbols], kind="stable")
        first = len(made) - int(centre.sum())
        atoms = Atoms(symbols, positions=positions, cell=made.cell, pbc=True)
        index = np.array([self.packing.symbols.index(symbol) for symbol in symbols])
        limits = self.packing.min_distances[np.ix_(index, index)]
        scaled = atoms.get_scaled_positions()
        squared = squared_distances(scaled, scaled, made.cell.array, image_shifts(made.cell.array, float(limits.max())))
        squared[np.arange(len(atoms)), np.arange(len(atoms)), 0] = np.inf
        # The atoms of a unit are bonded across its centre; images of a unit are too close like any other atoms.
        close = squared < limits[:, :, None] ** 2
        for one in range(first, len(atoms), 2):
            for a, b in ((one, one + 1), (one + 1, one)):
                close[a, b, np.argmin(np.abs(squared[a, b] - self.units.bond**2))] = False
        return None if close.any() else atoms[order]


def _random(number: int, parallel: bool, rng: np.random.Generator) -> np.ndarray:
    """Return (number, 3) random unit vectors, all equal if `parallel`."""
    directions = rng.normal(size=(1 if parallel else number, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.broadcast_to(directions, (number, 3))


@dataclass(frozen=True, eq=False)
class _Orbit:
    """Equivalent centres: (s, 3, 3) rotations that leave the first one in place, and one rotation to each other centre by its number."""

    stabiliser: np.ndarray
    rotations: dict[int, np.ndarray]


def _orbits(made: Atoms) -> list[_Orbit]:
    """Return the orbits of the centres of units under the space group of an arrangement; none if spglib finds no group."""
    import spglib

    cell, scaled = made.cell.array, made.get_scaled_positions()
    symmetry = spglib.get_symmetry((cell, scaled, made.numbers), symprec=SAME)
    if symmetry is None:
        return []
    rotations = cell.T @ symmetry["rotations"] @ np.linalg.inv(cell.T)
    units = np.flatnonzero(made.numbers == 0)
    moved = np.einsum("oij,nj->oni", symmetry["rotations"], scaled[units]) + symmetry["translations"][:, None]
    apart = moved[:, :, None] - scaled[units]
    distances = np.linalg.norm((apart - np.round(apart)) @ cell, axis=-1)
    images = distances.argmin(axis=-1)
    found: list[_Orbit] = []
    left = set(range(len(units)))
    while left:
        first = min(left)
        to = {int(images[o, first]): rotations[o] for o in range(len(rotations))}
        found.append(_Orbit(rotations[images[:, first] == first], to))
        left -= set(to) | {first}
    return found


def _symmetric(orbits: list[_Orbit], rng: np.random.Generator) -> np.ndarray:
    """Return (n_units, 3) directions of units that keep the space group where the site symmetry of a centre allows it.

    An axis of a random symmetric tensor, averaged over the site symmetry, is mapped to plus or minus itself by all its operations if its
    eigenvalue is not degenerate. Sites of cubic symmetry have no such axis, and get a random one.
    """
    directions = np.zeros((sum(len(orbit.rotations) for orbit in orbits), 3))
    for orbit in orbits:
        tensor = rng.normal(size=(3, 3))
        mean = np.einsum("sij,jk,slk->il", orbit.stabiliser, tensor + tensor.T, orbit.stabiliser) / len(orbit.stabiliser)
        values, axes = np.linalg.eigh(mean)
        gaps = np.abs(values[:, None] - values) + np.diag([np.inf] * 3)
        single = np.flatnonzero(gaps.min(axis=1) > 1e-6 * np.abs(values).max())
        axis = axes[:, rng.choice(single)] if len(single) else _random(1, True, rng)[0]
        for number, rotation in orbit.rotations.items():
            directions[number] = rotation @ axis
    return directions


class DiatomicGenerator:
    """Generator of random crystals with diatomic units.

    Args:
        counts: number of atoms of each species in the cell, in which `diatomic_units` expects units.
        settings: volumes, share of symmetric arrangements, time limit and workers.

    Attributes:
        units: the units.
        packing: smallest distances between atoms that are not bonded; volume per atom.

    Raises:
        BadInput: the largest allowed volume is too small.
    """

    name = "diatomic"

    def __init__(self, counts: dict[str, int], settings: GenerateSettings | None = None):
        self.settings = settings or GenerateSettings()
        units = diatomic_units(counts)
        assert units is not None
        self.counts, self.units = dict(counts), units
        self.packing = _packing(counts, units, self.settings)
        centres, packing = _centres(self.packing, units)
        shape = self.settings.volume_range, self.settings.max_length_ratio
        self.builders: list[SymmetricBuilder | P1Builder] = [
            SymmetricBuilder(packing, *shape, compatible_fillings(centres, None)),
            P1Builder(packing, *shape),
        ]

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        symmetric = int(rng.binomial(n, self.settings.symmetric_share))
        made: list[Candidate] = []
        for builder, number in zip(self.builders, (symmetric, n - symmetric), strict=True):
            if number:
                made += make_many(
                    DiatomicBuilder(self.units, self.packing, builder),
                    number,
                    rng,
                    what=f"{formula_text(self.counts)} with {self.units.symbol}2",
                    advice="increase volume_per_atom or volume_range",
                    try_seconds=self.settings.try_seconds,
                    workers=self.settings.workers,
                )
        return made


def _packing(counts: dict[str, int], units: Units, settings: GenerateSettings) -> Packing:
    """Return the smallest distances between atoms that are not bonded, and the volume per atom."""
    radius = float(vdw_radii[atomic_numbers[units.symbol]])
    contact = CONTACT * 2 * radius
    if len(counts) == 1:
        volume = settings.volume_per_atom or FILLING * 4 / 3 * math.pi * radius**3 / 2
        return Packing(tuple(counts), tuple(counts.values()), np.array([[contact]]), volume, "covalent")
    usual = make_packing(counts, settings)
    distances = usual.min_distances.copy()
    place = usual.symbols.index(units.symbol)
    # In dense compounds atoms of different units are closer, near the distance of neighbours in a closest packing.
    distances[place, place] = min(contact, 0.9 * (math.sqrt(2) * usual.volume_per_atom) ** (1 / 3))
    return Packing(usual.symbols, usual.counts, distances, usual.volume_per_atom, usual.model)


def _centres(packing: Packing, units: Units) -> tuple[dict[str, int], Packing]:
    """Return the numbers of centres and other atoms, and their packing: at distances that some directions of the units allow."""
    counts = dict(zip(packing.symbols, packing.counts, strict=True))
    counts[units.symbol] -= 2 * units.number
    kept = [k for k, symbol in enumerate(packing.symbols) if counts[symbol]]
    place, n = packing.symbols.index(units.symbol), len(kept)
    distances = np.empty((n + 1, n + 1))
    distances[:n, :n] = packing.min_distances[np.ix_(kept, kept)]
    # Closer centres are possible side-on, but then few directions are.
    distances[n, :n] = distances[:n, n] = packing.min_distances[place, kept]
    distances[n, n] = packing.min_distances[place, place]
    numbers = {**{packing.symbols[k]: counts[packing.symbols[k]] for k in kept}, CENTRE: units.number}
    volume = packing.volume_per_atom * packing.n_atoms / sum(numbers.values())
    return numbers, Packing(tuple(numbers), tuple(numbers.values()), distances, volume, packing.model)
