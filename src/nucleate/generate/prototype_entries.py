"""Prototypes that fit a composition, with all assignments of its elements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase import Atoms

from nucleate.crystals.formula import formula_units, scale_formula
from nucleate.errors import BadInput
from nucleate.generate.aflow import Prototype, read_prototypes
from nucleate.generate.distances import image_shifts, squared_distances
from nucleate.generate.packing import oxidation_states
from nucleate.generate.seeds import in_cell_of
from nucleate.generate.substitution import ion_name, log_substitution

REACH = 2.5
"""Largest distance for which the pairs of a prototype are considered at a volume of 1 Å³ per atom, Å."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A prototype with an assignment of elements.

    Attributes:
        prototype: the prototype.
        assignment: pairs (element of the prototype, element that takes its place).
        copies: number of primitive cells of the prototype in the cell of the search.
        log_probability: logarithm of the probability of this substitution of ions; None if the oxidation states of one of the compounds
            are not known.
    """

    prototype: Prototype
    assignment: tuple[tuple[str, str], ...]
    copies: int
    log_probability: float | None

    @property
    def name(self) -> str:
        """Name of the prototype, its label and the assignment, such as `Corundum, A2B3_hR10_167_c_e, Al: Al, O: O`."""
        label = "" if self.prototype.name == self.prototype.label else f", {self.prototype.label}"
        return f"{self.prototype.name}{label}, {', '.join(f'{old}: {new}' for old, new in self.assignment)}"

    def atoms(self, symbols: tuple[str, ...]) -> Atoms:
        """Return the crystal in the cell of the search, with the volume of the prototype and the elements in the given order."""
        atoms = _supercell(self.prototype, self.copies).copy()
        new = dict(self.assignment)
        atoms.set_chemical_symbols([new[symbol] for symbol in atoms.get_chemical_symbols()])
        ordered: Atoms = atoms[np.argsort([symbols.index(symbol) for symbol in atoms.get_chemical_symbols()], kind="stable")]
        return ordered

    def closest(self, symbols: tuple[str, ...]) -> np.ndarray:
        """Return the (S, S) smallest distances between atoms of two elements at a volume of 1 Å³ per atom; infinite beyond `REACH`."""
        places = [[new for _, new in self.assignment].index(symbol) for symbol in symbols]
        return _closest(self.prototype)[np.ix_(places, places)]


def matching_entries(counts: dict[str, int], space_groups: tuple[int, ...] | None = None) -> tuple[Entry, ...]:
    """Return the prototypes with the stoichiometry of a composition, with every assignment of its elements.

    Prototypes whose primitive cell has fewer atoms enter as supercells if their number of atoms divides that of the composition.

    Args:
        counts: number of atoms of each species in the cell.
        space_groups: numbers of the space groups to consider; None for all.
    """
    found = _entries(tuple(counts.items()))
    return tuple(entry for entry in found if space_groups is None or entry.prototype.space_group in space_groups)


@lru_cache(maxsize=1024)
def _supercell(prototype: Prototype, copies: int) -> Atoms:
    """Return the most compact supercell of a prototype with a number of primitive cells."""
    return in_cell_of(prototype.atoms, scale_formula(prototype.counts, formula_units(prototype.counts) * copies), prototype.label)


@lru_cache(maxsize=512)
def _sound(prototype: Prototype) -> bool:
    """Return whether no atoms of a prototype overlap, as those of ullmannite in the library do."""
    try:
        _supercell(prototype, 1)
    except BadInput:
        return False
    return True


@lru_cache(maxsize=512)
def _closest(prototype: Prototype) -> np.ndarray:
    """Return the smallest distances between atoms of two elements of a prototype, in their order, at a volume of 1 Å³ per atom."""
    scaled, cell, n = prototype.scaled, prototype.cell, len(prototype.numbers)
    cell = cell * (n / abs(np.linalg.det(cell))) ** (1.0 / 3.0)
    squared = squared_distances(scaled, scaled, cell, image_shifts(cell, REACH))
    squared[np.arange(n), np.arange(n), 0] = np.inf
    squared[squared > REACH**2] = np.inf
    symbols = list(prototype.counts)
    species = np.array([symbols.index(symbol) for symbol in prototype.atoms.get_chemical_symbols()])
    closest = np.full((len(symbols), len(symbols)), np.inf)
    np.minimum.at(closest, (species[:, None], species[None, :]), np.sqrt(squared.min(axis=-1)))
    return closest


@lru_cache(maxsize=1024)
def _entries(items: tuple[tuple[str, int], ...]) -> tuple[Entry, ...]:
    counts = dict(items)
    total = sum(counts.values())
    states = oxidation_states(counts)
    entries = []
    for prototype in read_prototypes():
        copies, rest = divmod(total, len(prototype.numbers))
        if rest or len(prototype.counts) != len(counts) or not _sound(prototype):
            continue
        for assignment in assignments(prototype.counts, counts):
            entries.append(Entry(prototype, assignment, copies, _log_probability(prototype, assignment, states)))
    return tuple(entries)


def assignments(own: dict[str, int], counts: dict[str, int]) -> Iterator[tuple[tuple[str, str], ...]]:
    """Iterate over the assignments of the elements of a composition to those of a prototype with the same stoichiometry.

    Args:
        own: number of atoms of each element of the prototype.
        counts: number of atoms of each element of the composition.
    """
    units, ours = formula_units(own), formula_units(counts)
    for order in itertools.permutations(counts):
        pairs = tuple(zip(own, order, strict=True))
        if all(own[old] // units == counts[new] // ours for old, new in pairs):
            yield pairs


def _log_probability(prototype: Prototype, assignment: tuple[tuple[str, str], ...], states: dict[str, float]) -> float | None:
    """Return the logarithm of the probability of a substitution; None if it is not known."""
    before = _states_of(tuple(prototype.counts.items())) if states else {}
    total = 0.0
    for old, new in assignment:
        if old not in before or new not in states:
            return None
        ions = ion_name(new, states[new]), ion_name(old, before[old])
        value = None if ions[0] is None or ions[1] is None else log_substitution(ions[0], ions[1])
        if value is None:
            return None
        total += value
    return total


@lru_cache(maxsize=512)
def _states_of(items: tuple[tuple[str, int], ...]) -> dict[str, float]:
    """Return the oxidation states of the elements of a prototype; empty if they are not known."""
    return oxidation_states(dict(items))
