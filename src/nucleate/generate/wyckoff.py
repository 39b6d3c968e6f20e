"""Wyckoff positions in primitive cells, and the distributions of a composition over them.

The number of distributions is computed with a generating function: a site with free coordinates may be used any number of times by any
species, F(r) += F(r - m), and a site without free coordinates only once by one species. With F stored after each step, a distribution is
drawn uniformly at random by traversing the tables backwards, without enumerating the distributions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from nucleate.generate.lattices import PRIMITIVE, crystal_system

MAX_STATES = 200_000
"""Largest size of a table; for larger compositions the species are drawn one after another."""
MAX_FILL_TRIES = 20
"""Number of attempts to draw the species of a large composition one after another."""
TABLES = {3: "wyckoff-3d.npz", 2: "wyckoff-2d.npz"}
"""Names of the files of Wyckoff positions by the number of periodic directions."""


@dataclass(frozen=True, eq=False)
class Site:
    """One Wyckoff position in the primitive cell, with M atoms.

    Attributes:
        letter: Wyckoff letter.
        multiplicity: number of atoms in the conventional cell.
        symmetry: site symmetry symbol.
        freedom: number of free coordinates, 0 to 3.
        rotations: (M, 3, 3) matrices.
        translations: (M, 3) vectors. An orbit is `rotations @ x + translations` in fractional coordinates of the primitive cell, where x is
            a point in fractional coordinates of the conventional cell.
        index: place in PyXtal's list of the Wyckoff positions of the group, in which the general position is 0.
    """

    letter: str
    multiplicity: int
    symmetry: str
    freedom: int
    rotations: np.ndarray
    translations: np.ndarray
    index: int = 0

    @property
    def size(self) -> int:
        """Number of atoms in the primitive cell."""
        return len(self.translations)

    @property
    def label(self) -> str:
        """Multiplicity and letter, such as `12c`."""
        return f"{self.multiplicity}{self.letter}"


@dataclass(frozen=True, eq=False)
class GroupSites:
    """A space group and its sites that are small enough for the composition.

    Attributes:
        number: international number.
        symbol: Hermann-Mauguin symbol.
        sites: Wyckoff positions.
        rotations, translations: (g, 3, 3) matrices W and (g, 3) vectors t of the operations x -> W x + t in fractional coordinates of the
            primitive cell, without the lattice translations.
    """

    number: int
    symbol: str
    sites: tuple[Site, ...]
    rotations: np.ndarray
    translations: np.ndarray

    @property
    def centring(self) -> str:
        """Centring letter: P, A, C, I, F or R."""
        return self.symbol[0].upper()

    @property
    def copies(self) -> int:
        """Number of primitive cells in the conventional cell."""
        return round(1.0 / float(abs(np.linalg.det(PRIMITIVE[self.centring]))))

    @property
    def system(self) -> str:
        """Crystal system."""
        return crystal_system(self.number)


Combination = tuple[tuple[int, int], ...]
"""Sorted pairs (species, site)."""


def space_group_sites(largest: int) -> tuple[GroupSites, ...]:
    """Return all 230 space groups with their sites of at most `largest` atoms in the primitive cell."""
    return read_groups(largest, periodic=3)


@lru_cache(maxsize=128)
def read_groups(largest: int, periodic: int) -> tuple[GroupSites, ...]:
    """Return the 230 space groups or the 80 layer groups with their sites of at most `largest` atoms in the primitive cell.

    Args:
        largest: number of atoms.
        periodic: number of periodic directions, 3 or 2.
    """
    return tuple(replace(group, sites=tuple(site for site in group.sites if site.size <= largest)) for group in _tables(periodic))


@lru_cache(maxsize=2)
def _tables(periodic: int) -> tuple[GroupSites, ...]:
    """Read the groups with all their sites from the file that `tools/wyckoff_tables.py` writes."""
    with np.load(Path(__file__).parent / "data" / TABLES[periodic], allow_pickle=False) as file:
        rows = {name: file[name] for name in file.files}
    ends = np.cumsum(rows["size"])[:-1]
    rotations, translations = np.split(rows["rotations"], ends), np.split(rows["translations"], ends)
    sites: dict[int, list[Site]] = {}
    for k, number in enumerate(rows["group"].tolist()):
        letter, symmetry = str(rows["letter"][k]), str(rows["symmetry"][k])
        multiplicity, freedom, index = (int(rows[name][k]) for name in ("multiplicity", "freedom", "index"))
        site = Site(letter, multiplicity, symmetry, freedom, rotations[k], translations[k], index)
        sites.setdefault(number, []).append(site)
    groups = []
    for number, own in sites.items():
        symbol, general = str(rows["symbols"][number - 1]), own[0]
        # The operations of a site lead from fractional coordinates of the conventional cell to those of the primitive one.
        operations = np.round(general.rotations @ PRIMITIVE[symbol[0].upper()].T, 8)
        groups.append(GroupSites(number, symbol, tuple(reversed(own)), operations, general.translations))
    return tuple(groups)


@dataclass(eq=False)
class SiteFilling:
    """Distributions of a composition over the sites of a space group.

    Attributes:
        group: the space group.
        counts: number of atoms of each species in the primitive cell.
    """

    group: GroupSites
    counts: tuple[int, ...]
    _tables: list[np.ndarray] = field(default_factory=list, repr=False)
    _steps: list[tuple[int, int]] = field(default_factory=list, repr=False)

    def __post_init__(self):
        # A step is (site, species), with species -1 for a site without free coordinates, which at most one species occupies.
        for index, site in enumerate(self.group.sites):
            species = range(len(self.counts)) if site.freedom else (-1,)
            self._steps += [(index, s) for s in species]

    @property
    def large(self) -> bool:
        """Whether the table would be too large, so that the species are drawn one after another."""
        return len(self.counts) > 1 and float(np.prod(np.array(self.counts) + 1.0)) > MAX_STATES

    def number(self) -> float:
        """Return the number of distributions; for a `large` composition 1 if each species separately has one, else 0."""
        if self.large:
            return float(all(SiteFilling(self.group, (n,)).number() for n in self.counts))
        return float(self._fill()[-1][self.counts])

    def _fill(self) -> list[np.ndarray]:
        """Return the tables F after each step, computing them if needed."""
        if not self._tables:
            table = np.zeros([n + 1 for n in self.counts])
            table[(0,) * len(self.counts)] = 1.0
            self._tables.append(table)
            for index, species in self._steps:
                size = self.group.sites[index].size
                old, table = table, table.copy()
                for s in range(len(self.counts)) if species < 0 else (species,):
                    new = np.moveaxis(table, s, 0)
                    if species < 0:
                        new[size:] += np.moveaxis(old, s, 0)[: max(len(new) - size, 0)]
                    else:
                        for n in range(size, len(new)):
                            new[n] += new[n - size]
                self._tables.append(table)
        return self._tables

    def forget(self) -> None:
        """Free the tables; they are computed again when needed."""
        self._tables.clear()

    def _choices(self, step: int, left: tuple[int, ...]) -> list[tuple[float, int, tuple[int, ...], int]]:
        """Return the choices at a step: (number of distributions, species on the site or -1, remaining counts, next step)."""
        index, species = self._steps[step - 1]
        size = self.group.sites[index].size
        tables = self._fill()
        choices = [(float(tables[step - 1][left]), -1, left, step - 1)]
        for s in range(len(left)) if species < 0 else (species,):
            if left[s] >= size:
                rest = (*left[:s], left[s] - size, *left[s + 1 :])
                onward = step - 1 if species < 0 else step
                choices.append((float(tables[onward][rest]), s, rest, onward))
        return [choice for choice in choices if choice[0] > 0]

    def draw(self, rng: np.random.Generator) -> Combination | None:
        """Draw one distribution uniformly; None if there is none or, for a `large` composition, none could be drawn."""
        if self.large:
            return self._draw_species_by_species(rng)
        step, left, taken = len(self._steps), self.counts, []
        while step:
            choices = self._choices(step, left)
            if not choices:
                return None
            weights = np.cumsum([choice[0] for choice in choices])
            _, species, rest, onward = choices[int(np.searchsorted(weights, rng.random() * weights[-1], side="right"))]
            if species >= 0:
                taken.append((species, self._steps[step - 1][0]))
            step, left = onward, rest
        # In a group without sites there are no steps, and no atom is placed.
        return None if any(left) else tuple(sorted(taken))

    def _draw_species_by_species(self, rng: np.random.Generator) -> Combination | None:
        """Draw the distribution of one species after another, in random order."""
        for _ in range(MAX_FILL_TRIES):
            taken: list[tuple[int, int]] = []
            for species in rng.permutation(len(self.counts)):
                used = {site for _, site in taken if not self.group.sites[site].freedom}
                free = [i for i in range(len(self.group.sites)) if i not in used]
                rest = replace(self.group, sites=tuple(self.group.sites[i] for i in free))
                own = SiteFilling(rest, (self.counts[species],)).draw(rng)
                if own is None:
                    break
                taken += [(int(species), free[site]) for _, site in own]
            else:
                return tuple(sorted(taken))
        return None

    def every(self) -> Iterator[Combination]:
        """Iterate over all distributions; there may be very many."""
        stack: list[tuple[int, tuple[int, ...], Combination]] = [(len(self._steps), self.counts, ())]
        while stack:
            step, left, taken = stack.pop()
            if not step:
                yield tuple(sorted(taken))
                continue
            for _, species, rest, onward in self._choices(step, left):
                more = ((species, self._steps[step - 1][0]),) if species >= 0 else ()
                stack.append((onward, rest, taken + more))
