"""Wyckoff positions of known crystals, and the assignments of a composition to them.

PyXtal (S. Fredericks et al., Comput. Phys. Commun. 261, 107810 (2021), doi 10.1016/j.cpc.2020.107810) ships a table of the sets of Wyckoff
positions that occur among 88,678 crystals, with the number of crystals of each. It is read from the installed package. The table does not
contain the species. Sets and assignments are drawn as if the species of a composition were put on the orbits of a random known crystal at
random, until the result has the composition.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nucleate.generate.wyckoff import Combination, GroupSites, space_group_sites

TABLE = "database/spg_num_wps_mp.csv"
"""File of the table in the package PyXtal."""
COLUMNS = ["spg", "n_atoms", "wps", "count"]


class ObservedSites(NamedTuple):
    """Wyckoff positions that known crystals occupy.

    Attributes:
        group: international number of the space group.
        atoms: number of atoms in the conventional cell.
        positions: indices of the occupied positions in PyXtal's list of the group, in which the general position is 0; a position with free
            coordinates may occur several times.
        crystals: number of known crystals.
    """

    group: int
    atoms: int
    positions: tuple[int, ...]
    crystals: int


@lru_cache(maxsize=1)
def observed_sites() -> tuple[ObservedSites, ...]:
    """Return all rows of the table."""
    found = find_spec("pyxtal")
    assert found is not None
    assert found.submodule_search_locations is not None
    with (Path(found.submodule_search_locations[0]) / TABLE).open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        header = next(rows)
        if header != COLUMNS:
            raise AssertionError(f"{TABLE}: the columns are {header}, not {COLUMNS}")
        return tuple(ObservedSites(int(a), int(b), tuple(int(k) for k in c.split("-")), int(d)) for a, b, c, d in rows)


@dataclass(frozen=True, eq=False)
class ObservedFilling:
    """Assignments of a composition to the Wyckoff positions of known crystals.

    Attributes:
        group: the space group, with its sites in the primitive cell.
        sites: (site, number of orbits) of each occupied site, by ascending size.
        counts: number of atoms of each species in the primitive cell.
        crystals: number of known crystals with these positions.
    """

    group: GroupSites
    sites: tuple[tuple[int, int], ...]
    counts: tuple[int, ...]
    crystals: int

    def _orbits(self) -> tuple[tuple[int, int], ...]:
        """Return (size, number of orbits) of each occupied site."""
        return tuple((self.group.sites[site].size, orbits) for site, orbits in self.sites)

    def number(self) -> int:
        """Return the number of assignments; orbits of the same site are not distinguished."""
        return _assignments(self._orbits(), self.counts)

    def weight(self) -> float:
        """Return the relative frequency: the number of crystals times the share of the assignments that give the composition."""
        species = len(self.counts)
        every = math.prod(math.comb(orbits + species - 1, orbits) for _, orbits in self.sites)
        return self.crystals * (self.number() / every)

    def draw(self, rng: np.random.Generator) -> Combination | None:
        """Draw one of the assignments uniformly; None if there is none."""
        orbits, left, taken = self._orbits(), self.counts, []
        for k, (site, repeated) in enumerate(self.sites):
            choices = [(split, rest) for split, rest in _splits(orbits[k][0], repeated, left) if _assignments(orbits[k + 1 :], rest)]
            if not choices:
                return None
            # The ratios are taken from integers, which may be too large for floating-point numbers.
            numbers = [_assignments(orbits[k + 1 :], rest) for _, rest in choices]
            total = sum(numbers)
            chances = np.array([number / total for number in numbers])
            split, left = choices[int(rng.choice(len(choices), p=chances / chances.sum()))]
            taken += [(species, site) for species, times in enumerate(split) for _ in range(times)]
        return None if any(left) else tuple(sorted(taken))


def _splits(size: int, orbits: int, left: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Iterate over the ways to share equal orbits among species: the orbits of each species, and the atoms that remain to be placed."""
    if not left:
        return
    if len(left) == 1:
        if orbits * size <= left[0]:
            yield (orbits,), (left[0] - orbits * size,)
        return
    for first in range(min(orbits, left[0] // size) + 1):
        for others, rest in _splits(size, orbits - first, left[1:]):
            yield (first, *others), (left[0] - first * size, *rest)


def _assignments(orbits: tuple[tuple[int, int], ...], left: tuple[int, ...]) -> int:
    """Return the number of ways to occupy orbits with exactly these atoms.

    Args:
        orbits: (size, number of orbits) of each site.
        left: number of atoms of each species.
    """
    # The number does not depend on which species is which, so that far fewer cases need to be stored.
    return _sorted_assignments(orbits, tuple(sorted(n for n in left if n)))


@lru_cache(maxsize=1 << 18)
def _sorted_assignments(orbits: tuple[tuple[int, int], ...], left: tuple[int, ...]) -> int:
    """Return the number of ways to occupy orbits with exactly these atoms; `left` is ascending and positive."""
    if not orbits:
        return int(not any(left))
    (size, repeated), others = orbits[0], orbits[1:]
    if not others:
        # The number of atoms of a set fits the composition, so that there is at most one way for the last site.
        return int(all(n % size == 0 for n in left) and sum(left) == size * repeated)
    return sum(_assignments(others, rest) for _, rest in _splits(size, repeated, left))


MOST_SPECIES = 5
"""Number of species above which the assignments of sites are not counted, since their number grows too fast."""


@lru_cache(maxsize=64)
def observed_fillings(counts: tuple[int, ...], space_groups: tuple[int, ...] | None = None) -> tuple[ObservedFilling, ...]:
    """Return the Wyckoff positions of known crystals that can contain exactly these atoms; empty if there are none, or too many species.

    Args:
        counts: number of atoms of each species in the primitive cell.
        space_groups: numbers of the space groups to consider; None for all.
    """
    if len(counts) > MOST_SPECIES:
        return ()
    groups = space_group_sites(max(counts))
    sites = [{site.index: k for k, site in enumerate(group.sites)} for group in groups]
    fillings = []
    for row in _rows(sum(counts)):
        own, group = sites[row.group - 1], groups[row.group - 1]
        # Sites that are not listed have more atoms than any species.
        if (space_groups is None or row.group in space_groups) and all(k in own for k in row.positions):
            used = Counter(own[k] for k in row.positions)
            filling = ObservedFilling(group, _by_size(group, used), counts, row.crystals)
            if filling.number():
                fillings.append(filling)
    return tuple(fillings)


def _by_size(group: GroupSites, used: Counter[int]) -> tuple[tuple[int, int], ...]:
    """Return (site, number of orbits) by ascending size, so that different sets share the numbers of their assignments."""
    return tuple(sorted(used.items(), key=lambda item: (group.sites[item[0]].size, item[1], item[0])))


def _rows(atoms: int) -> Sequence[ObservedSites]:
    """Return the rows with a number of atoms in the primitive cell."""
    return _rows_by_size().get(atoms, ())


@lru_cache(maxsize=1)
def _rows_by_size() -> dict[int, list[ObservedSites]]:
    copies = [group.copies for group in space_group_sites(1)]
    rows: dict[int, list[ObservedSites]] = {}
    for row in observed_sites():
        atoms, rest = divmod(row.atoms, copies[row.group - 1])
        if not rest:
            rows.setdefault(atoms, []).append(row)
    return rows
