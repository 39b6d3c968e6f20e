"""Random crystals of molecules: rigid molecules in random orientations on the sites of a space group.

A structure is generated in four steps: a space group is drawn, then a distribution of the molecules over those of its Wyckoff positions
whose symmetry the molecules have, then a random lattice, and finally the molecules are placed one after another, with random centres and
orientations that respect the smallest distances. If this fails many times, the volume is increased.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from nucleate.crystals.images import lattice_translations
from nucleate.errors import BadInput
from nucleate.generate.base import Candidate
from nucleate.generate.lattices import PRIMITIVE, compact, random_conventional
from nucleate.generate.molecular_packing import contact_distances, molecular_volume
from nucleate.generate.settings import GenerateSettings
from nucleate.generate.space_group_shares import shares_in_nature
from nucleate.generate.tries import NotPlaced, make_many
from nucleate.generate.wyckoff import GroupSites, Site, SiteFilling, space_group_sites
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.symmetry import TOLERANCE, SiteOrientations, point_group
from nucleate.molecules.torsions import turn_bonds

PICKS = 400
"""Largest number of space groups and distributions tried for one structure."""
LATTICES = 3
"""Number of lattices tried for one distribution."""
PLACES = 12
"""Number of random centres and orientations tried for one molecule."""
GROWTH = 1.01
"""Factor of the largest volume after each distribution that failed."""
DRAWS = 60
"""Number of distributions that are drawn until the molecules fit their sites."""
ATTEMPTS = 200
"""Number of distributions drawn to find out whether a space group can hold molecules of several kinds."""


@dataclass(eq=False)
class SiteChoice:
    """A Wyckoff position for molecules.

    Attributes:
        site: the position.
        orientations: orientations of each kind of molecule; None: the molecule does not fit.
    """

    site: Site
    orientations: list[SiteOrientations | None]


@dataclass(eq=False)
class MolecularBuilder:
    """Builder of one molecular crystal from a random seed.

    Attributes:
        molecules: distinct molecules.
        counts: number of molecules of each kind in the primitive cell.
        volume: volume of the primitive cell at volume factor 1, Å³.
        volume_range: smallest and largest volume factor.
        length_ratio: largest ratio of the free cell lengths.
        groups: compatible space groups, with those sites that some molecule fits.
        weights: (n,) probability of each group.
        flexible: whether torsions about single bonds are drawn at random.
        fitter: what finds the sites that the molecules fit.
    """

    molecules: tuple[Molecule, ...]
    counts: tuple[int, ...]
    volume: float
    volume_range: tuple[float, float]
    length_ratio: float
    groups: list[GroupSites]
    weights: np.ndarray
    flexible: bool
    fitter: SiteFitter
    _fits: dict[int, list[SiteChoice]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.limits = contact_distances(self.molecules)
        self.order = sum(self.counts)

    def __call__(self, seed: int) -> Candidate:
        """Return the candidate of a seed; raise `NotPlaced` if the molecules could not be placed."""
        rng = np.random.default_rng(seed)
        low, high = self.volume_range
        for pick in range(PICKS):
            index = int(rng.choice(len(self.groups), p=self.weights))
            combination = draw_sites(self.groups[index], self.counts, self._choices(index), rng)
            if combination is None:
                continue
            for _ in range(LATTICES):
                factor = rng.uniform(low, high * GROWTH**pick)
                candidate = self.place(index, combination, factor, rng)
                if candidate is not None:
                    candidate.seed = seed
                    return candidate
        raise NotPlaced(f"the molecules could not be placed in {PICKS} random choices of space group and sites")

    def _choices(self, index: int) -> list[SiteChoice]:
        if index not in self._fits:
            self._fits[index] = self.fitter.choices(self.groups[index])
        return self._fits[index]

    def place(self, index: int, combination: tuple[tuple[int, int], ...], factor: float, rng: np.random.Generator) -> Candidate | None:
        """Place molecules on a combination of sites in a random lattice; return None if some are too close.

        Args:
            index: place of the space group in `groups`.
            combination: pairs (kind of molecule, site).
            factor: volume factor.
            rng: random number generator.
        """
        group, choices = self.groups[index], self._choices(index)
        rotations, translations = group.rotations, group.translations
        primitive = PRIMITIVE[group.centring]
        volume = self.volume * factor / np.linalg.det(primitive)
        cell = primitive @ random_conventional(group.system, group.centring, volume, self.length_ratio, rng)
        inverse = np.linalg.inv(cell)
        cartesian = cell.T @ rotations @ inverse.T
        shapes = [self._conformer(molecule, rng) for molecule in self.molecules]
        # An operation of a site moves atoms by up to the tolerance.
        reach = max(float(np.linalg.norm(shape, axis=1).max()) for shape in shapes) + self.fitter.tolerance
        shifts = lattice_translations(cell, max(float(limits.max()) for row in self.limits for limits in row) + 2 * reach) @ cell
        placed: list[tuple[int, np.ndarray, np.ndarray]] = []  # kind, centre, positions relative to it
        order = sorted(combination, key=lambda pair: (choices[pair[1]].site.freedom, -choices[pair[1]].site.size))
        for kind, number in order:
            choice = choices[number]
            orientations = choice.orientations[kind]
            assert orientations is not None
            for _ in range(PLACES):
                point = rng.random(3)
                centre = choice.site.rotations[0] @ point + choice.site.translations[0]
                turn = orientations.draw(rng)
                own = orientations.symmetrised(turn) if orientations.others else shapes[kind] @ turn.T
                images = _orbit(centre, rotations, translations)
                if len(images) != choice.site.size:
                    continue  # The random point lies on a more special position.
                orbit = [(kind, place @ cell, own @ cartesian[op].T) for op, place in images]
                if self._apart(orbit, placed, cell, inverse, shifts, reach):
                    placed += orbit
                    break
            else:
                return None
        return self._finish(group, choices, combination, placed, cell, factor)

    def _conformer(self, molecule: Molecule, rng: np.random.Generator) -> np.ndarray:
        return turn_bonds(molecule, rng) if self.flexible else molecule.positions

    def _apart(
        self,
        orbit: list[tuple[int, np.ndarray, np.ndarray]],
        placed: list[tuple[int, np.ndarray, np.ndarray]],
        cell: np.ndarray,
        inverse: np.ndarray,
        shifts: np.ndarray,
        reach: float,
    ) -> bool:
        """Return whether the first molecule of an orbit is far enough from all others; the others of the orbit are equivalent to it.

        Args:
            orbit, placed: molecules as kind, centre and positions relative to it.
            cell: lattice vectors as rows, Å.
            inverse: its inverse.
            shifts: (n, 3) lattice translations between molecules that may be too close, Å.
            reach: largest distance of an atom from the centre of its molecule, Å.
        """
        kind, centre, own = orbit[0]
        for other, place, shape in [*orbit, *placed]:
            limits = self.limits[kind][other]
            difference = place - centre
            difference = difference - np.round(difference @ inverse) @ cell
            vectors = difference + shifts
            squares = np.einsum("kx,kx->k", vectors, vectors)
            near = squares < (limits.max() + 2 * reach) ** 2
            if other == kind and shape is own:
                near &= squares > 1e-12
            vectors = vectors[near]
            if not len(vectors):
                continue
            apart = (own[:, None] - shape)[None] - vectors[:, None, None]
            if (np.einsum("kijx,kijx->kij", apart, apart) < limits**2).any():
                return False
        return True

    def _finish(self, group, choices, combination, placed, cell, factor) -> Candidate:
        """Return the candidate in its reduced cell, with the molecules in the order of their kinds."""
        placed = sorted(placed, key=lambda item: item[0])
        numbers = np.concatenate([self.molecules[kind].numbers for kind, _, _ in placed])
        positions = np.concatenate([centre + shape for _, centre, shape in placed])
        scaled, reduced = compact(positions @ np.linalg.inv(cell), cell)
        details = {
            "space_group": group.number,
            "space_group_symbol": group.symbol,
            "sites": [
                {"molecule": self.molecules[k].name, "site": choices[i].site.label, "symmetry": choices[i].site.symmetry}
                for k, i in combination
            ],
            "volume": float(abs(np.linalg.det(reduced))),
            "volume_factor": float(factor),
        }
        return Candidate(Atoms(numbers=numbers, scaled_positions=scaled, cell=reduced, pbc=True), "molecular", -1, details)


def _orbit(centre: np.ndarray, rotations: np.ndarray, translations: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Return one operation for each image of a point, the identity first, with the image in [0, 1)."""
    images = rotations @ centre + translations
    kept: list[tuple[int, np.ndarray]] = []
    for op, image in enumerate(images):
        image = image - np.floor(image + 1e-9)
        if all(np.abs((image - other) - np.round(image - other)).max() > 1e-5 for _, other in kept):
            kept.append((op, image))
    return kept


class SiteFitter:
    """Finds the sites of space groups that molecules fit.

    Args:
        molecules: distinct molecules.
        tolerance: largest displacement of an atom by an operation of a site, Å.
    """

    def __init__(self, molecules: Sequence[Molecule], tolerance: float = TOLERANCE):
        self.molecules, self.tolerance = tuple(molecules), tolerance
        self.groups = [point_group(molecule, tolerance) for molecule in self.molecules]
        self._known: dict[bytes, list[SiteOrientations | None]] = {}

    def choices(self, group: GroupSites) -> list[SiteChoice]:
        """Return the sites of a space group with the orientations in which each molecule has their symmetry."""
        rotations, translations = group.rotations, group.translations
        # Matrices of the site symmetry in Cartesian coordinates are the same for all lattices of the crystal system.
        cell = PRIMITIVE[group.centring] @ random_conventional(group.system, group.centring, 1.0, 1.5, np.random.default_rng(0))
        cartesian = cell.T @ rotations @ np.linalg.inv(cell).T
        result = []
        for site in group.sites:
            centre = site.rotations[0] @ np.array([0.1234, 0.2718, 0.3571]) + site.translations[0]
            images = rotations @ centre + translations - centre
            stabiliser = cartesian[np.abs(images - np.round(images)).max(1) < 1e-5]
            result.append(SiteChoice(site, self._orientations(stabiliser)))
        return result

    def _orientations(self, stabiliser: np.ndarray) -> list[SiteOrientations | None]:
        """Return the orientations of each molecule on a site; many sites have the same symmetry."""
        # Rounding and sorting remove what differs between space groups, so that candidates do not depend on which group came first.
        rounded = np.round(stabiliser, 12) + 0.0
        canonical = rounded[np.lexsort(np.round(rounded, 4).reshape(len(rounded), 9).T)]
        key = (np.round(canonical, 4) + 0.0).tobytes()
        if key not in self._known:
            pairs = zip(self.molecules, self.groups, strict=True)
            found = [SiteOrientations(molecule, own, canonical, self.tolerance) for molecule, own in pairs]
            self._known[key] = [orientations if orientations.possible else None for orientations in found]
        return self._known[key]


def draw_sites(
    group: GroupSites, counts: tuple[int, ...], choices: list[SiteChoice], rng: np.random.Generator, draws: int = DRAWS
) -> tuple[tuple[int, int], ...] | None:
    """Return a random distribution of molecules over sites that they fit; None if none was drawn."""
    usable = [k for k, choice in enumerate(choices) if any(choice.orientations)]
    if not usable:
        return None
    own = replace(group, sites=tuple(group.sites[k] for k in usable))
    filling = SiteFilling(own, counts)
    for _ in range(draws):
        drawn = filling.draw(rng)
        if drawn is None:
            return None
        combination = tuple((kind, usable[site]) for kind, site in drawn)
        if all(choices[site].orientations[kind] is not None for kind, site in combination):
            return combination
    return None


class MolecularGenerator:
    """Generator of random molecular crystals with an exact number of molecules in the primitive cell.

    Args:
        molecules: distinct molecules.
        counts: number of molecules of each kind in the primitive cell.
        settings: volumes, space groups, time limit and workers.

    Raises:
        BadInput: none of the space groups can hold the molecules, or the volume of an element is not known.
    """

    name = "molecular"

    def __init__(self, molecules: Sequence[Molecule], counts: Sequence[int], settings: GenerateSettings | None = None):
        self.settings = settings = settings or GenerateSettings()
        molecules, counts = tuple(molecules), tuple(counts)
        n_atoms = sum(len(molecule) * count for molecule, count in zip(molecules, counts, strict=True))
        if settings.volume_per_atom is not None:
            volume = settings.volume_per_atom * n_atoms
        else:
            volume = sum(molecular_volume(molecule) * count for molecule, count in zip(molecules, counts, strict=True))
        fitter = SiteFitter(molecules)
        groups = holding_groups(molecules, counts, settings.space_groups, fitter=fitter)
        shares = shares_in_nature() if settings.space_group_weights == "nature" else np.ones(231)
        weights = np.array([shares[group.number] for group in groups])
        self.builder = MolecularBuilder(
            molecules, counts, volume, settings.volume_range, settings.max_length_ratio, groups, weights / weights.sum(),
            settings.conformers == "flexible", fitter,
        )  # fmt: skip

    @property
    def space_groups(self) -> list[int]:
        """International numbers of the space groups that are used."""
        return [group.number for group in self.builder.groups]

    def propose(self, n: int, rng: np.random.Generator) -> list[Candidate]:
        """Return exactly `n` candidates; raise `GenerationFailed` if they cannot be generated."""
        own = self.builder
        names = " and ".join(f"{count} {molecule.formula}" for molecule, count in zip(own.molecules, own.counts, strict=True))
        return make_many(
            self.builder,
            n,
            rng,
            what=f"crystals of {names}",
            advice="increase volume_per_atom or volume_range, or allow more space_groups",
            try_seconds=self.settings.try_seconds,
            workers=self.settings.workers,
        )


def holding_groups(
    molecules: Sequence[Molecule],
    counts: Sequence[int],
    space_groups: tuple[int, ...] | None = None,
    tolerance: float = TOLERANCE,
    fitter: SiteFitter | None = None,
) -> list[GroupSites]:
    """Return the space groups that can hold molecules on sites whose symmetry they have.

    Args:
        molecules: distinct molecules.
        counts: number of molecules of each kind in the primitive cell.
        space_groups: numbers of the space groups to consider; None: all.
        tolerance: largest displacement of an atom by an operation of a site, Å.
        fitter: what finds the sites that the molecules fit, and keeps what it has found; None: a new one with this tolerance.

    Raises:
        BadInput: none of them can.
    """
    wanted = space_groups or tuple(range(1, 231))
    every = space_group_sites(max(counts))
    rng, fitter = np.random.default_rng(0), fitter or SiteFitter(molecules, tolerance)
    found = []
    for number in wanted:
        group = every[number - 1]
        if not group.sites or SiteFilling(group, tuple(counts)).number() == 0:
            continue
        if draw_sites(group, tuple(counts), fitter.choices(group), rng, ATTEMPTS) is not None:
            found.append(group)
    if not found:
        names = " and ".join(f"{count} molecules of {molecule.formula}" for molecule, count in zip(molecules, counts, strict=True))
        shown = ", ".join(f"{every[number - 1].symbol} ({number})" for number in wanted[:5]) + (" ..." if len(wanted) > 5 else "")
        raise BadInput(f"no primitive cell of {shown} can hold {names} on sites whose symmetry they have; change --units or space_groups")
    return found
