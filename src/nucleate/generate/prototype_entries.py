"""Prototypes that fit a composition, with all assignments of its elements."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from ase import Atoms

from nucleate.crystals.formula import formula_units
from nucleate.errors import BadInput
from nucleate.generate.aflow import Prototype, read_prototypes
from nucleate.generate.packing import oxidation_states
from nucleate.generate.seeds import in_cell_of
from nucleate.generate.substitution import ion_name, log_substitution


@dataclass(frozen=True, eq=False)
class Entry:
    """A prototype with an assignment of elements, in the cell of a search.

    Attributes:
        prototype: the prototype.
        assignment: pairs (element of the prototype, element that takes its place).
        copies: number of primitive cells of the prototype in the cell.
        atoms: the crystal with the elements of the search, in the order of the composition, and the volume of the prototype.
        log_probability: logarithm of the probability of this substitution of ions; None if the oxidation states of one of the compounds
            are not known.
    """

    prototype: Prototype
    assignment: tuple[tuple[str, str], ...]
    copies: int
    atoms: Atoms
    log_probability: float | None

    @property
    def name(self) -> str:
        """Name of the prototype, its label and the assignment, such as `Corundum, A2B3_hR10_167_c_e, Al: Al, O: O`."""
        label = "" if self.prototype.name == self.prototype.label else f", {self.prototype.label}"
        return f"{self.prototype.name}{label}, {', '.join(f'{old}: {new}' for old, new in self.assignment)}"


def matching_entries(counts: dict[str, int], space_groups: tuple[int, ...] | None = None) -> tuple[Entry, ...]:
    """Return the prototypes with the stoichiometry of a composition, with every assignment of its elements.

    Prototypes whose primitive cell has fewer atoms enter as supercells if their number of atoms divides that of the composition.

    Args:
        counts: number of atoms of each species in the cell.
        space_groups: numbers of the space groups to consider; None for all.
    """
    found = _entries(tuple(counts.items()))
    return tuple(entry for entry in found if space_groups is None or entry.prototype.space_group in space_groups)


@lru_cache(maxsize=64)
def _entries(items: tuple[tuple[str, int], ...]) -> tuple[Entry, ...]:
    counts = dict(items)
    total = sum(counts.values())
    states = oxidation_states(counts)
    entries = []
    for prototype in read_prototypes():
        copies, rest = divmod(total, len(prototype.numbers))
        if rest or len(prototype.counts) != len(counts):
            continue
        for assignment in assignments(prototype.counts, counts):
            atoms = prototype.atoms
            new = dict(assignment)
            atoms.set_chemical_symbols([new[symbol] for symbol in atoms.get_chemical_symbols()])
            try:
                atoms = in_cell_of(atoms, counts, prototype.label)
            except BadInput:  # a prototype that is not a sound crystal
                continue
            entries.append(Entry(prototype, assignment, copies, atoms, _log_probability(prototype, assignment, states)))
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
