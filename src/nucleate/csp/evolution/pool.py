"""The pool of one round: its candidates, with their relaxations as they are made, generation after generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms

from nucleate.csp.evolution.records import Birth, EvolutionRecord
from nucleate.csp.records import Carried
from nucleate.fingerprints.selection import fingerprints
from nucleate.generate.base import Candidate
from nucleate.relax.batched import Relaxed


class Pool:
    """Candidates of a round and their relaxations.

    Args:
        carried: minima of the last round.
        round: round of the search.
        species: atomic numbers of the search.
        record: state of the evolution, in which the births of new candidates are entered.

    Attributes:
        items: candidates; those of a new generation come last.
        ends: relaxations of the first of these.
        vectors: (n, d) fingerprints of the relaxed candidates.
        smaller: names and structures of minima of smaller cells of the compound, the lowest first.
    """

    def __init__(self, carried: Sequence[Carried], round: int, species: tuple[int, ...], record: EvolutionRecord):
        self.round, self.species, self.record = round, species, record
        self.items: list[Carried] = []
        for place, item in enumerate(carried):
            if item.birth not in record.births:
                # The minima of a teacher, and those of folders of older versions, have no names.
                item = replace(item, birth=f"{round}.c{place + 1}")
                record.births[item.birth] = Birth(item.origin, (), round)
            self.items.append(item)
        self.ends: list[Relaxed] = []
        self.vectors = fingerprints([], species)
        self.smaller: list[tuple[str, Atoms]] = []
        self._born = 0

    @property
    def waiting(self) -> list[Carried]:
        """Candidates that are not relaxed yet."""
        return self.items[len(self.ends) :]

    def enter_smaller(self, minima: Sequence[tuple[str, Atoms]]) -> None:
        """Add the origins and structures of minima of smaller cells, the lowest first."""
        for origin, atoms in minima:
            name = f"{self.round}.s{len(self.smaller) + 1}"
            self.record.births[name] = Birth(origin, (), self.round)
            self.smaller.append((name, atoms))

    def enter(self, candidates: Sequence[Candidate], parents: Sequence[tuple[str, ...]] | None = None) -> None:
        """Add candidates; `parents` are the names of those of each, None where they have none."""
        for place, candidate in enumerate(candidates):
            self._born += 1
            name = f"{self.round}.{self._born}"
            self.record.births[name] = Birth(candidate.origin, () if parents is None else parents[place], self.round)
            self.items.append(Carried(candidate.atoms, candidate.origin, name))

    def relaxed(self, ends: Sequence[Relaxed]) -> None:
        """Enter the relaxations of the waiting candidates."""
        for item, end in zip(self.waiting, ends, strict=True):
            if end.usable:
                self.record.relaxed(item.birth, end.energy_per_atom)
        self.ends += ends
        self.vectors = np.concatenate([self.vectors, fingerprints([end.atoms for end in ends], self.species)])
