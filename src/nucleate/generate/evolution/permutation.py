"""Exchange of atoms of different species."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import Sites, sites_of
from nucleate.generate.evolution.symmetry import made_cyclic, made_symmetric, operations, orbits_of
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced


@dataclass(frozen=True, eq=False)
class Permutation:
    """Exchange of pairs of unlike atoms of one parent.

    Between one and all possible disjoint pairs of unlike atoms exchange their species; in half of the cases, only atoms of two randomly
    chosen species do. With a probability of 1/2, one or more pairs of whole orbits of equal size are exchanged instead, which keeps the
    symmetry: orbits of the space group if there are such pairs, otherwise those of one of its operations. The symmetry within 0.1 Å is
    made exact in this case. The volume is that of the parent, and atoms that are too close after the exchange are pushed apart.

    Exchanges are described by C. W. Glass, A. R. Oganov and N. Hansen, Comput. Phys. Commun. 175, 713 (2006),
    doi:10.1016/j.cpc.2006.07.020.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        symmetric: probability of an exchange of whole orbits.
    """

    packing: Packing
    symmetric: float = 0.5

    name = "permutation"
    parents = 1

    @staticmethod
    def applicable(packing: Packing) -> bool:
        """Return whether there are unlike atoms."""
        return len(packing.symbols) > 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with exchanged atoms; raise `NotPlaced` for an element, or if atoms remain too close."""
        sites = sites_of(self.packing, parents[0])

        def attempt() -> Atoms:
            return finished(self.packing, exchanged(sites, rng, self.symmetric), parents)

        return first_placed(attempt)


def exchanged(sites: Sites, rng: np.random.Generator, symmetric: float = 0.0) -> Sites:
    """Return the atoms with exchanged species.

    Args:
        sites: atoms of a parent.
        rng: random number generator.
        symmetric: probability of an exchange of whole orbits; single atoms are exchanged if no two orbits can be.

    Raises:
        NotPlaced: all atoms are of one species.
    """
    if len(np.unique(sites.species)) < 2:
        raise NotPlaced("atoms of one species cannot be exchanged")
    if rng.random() < symmetric:
        whole = _exchanged_orbits(sites, rng)
        if whole is not None:
            return whole
    kinds = np.unique(sites.species)
    chosen = rng.choice(kinds, 2, replace=False) if rng.random() < 0.5 else kinds
    atoms = rng.permutation(np.flatnonzero(np.isin(sites.species, chosen)))
    return sites._replace(species=_exchanged_pairs([np.array([atom]) for atom in atoms], sites.species, rng))


def _exchanged_pairs(groups: list[np.ndarray], species: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the species after the exchange of one to all disjoint pairs of unlike groups of equal size, in the order given."""
    pairs = []
    free = list(groups)
    while free:
        first = free.pop(0)
        partner = next((k for k, other in enumerate(free) if len(other) == len(first) and species[other[0]] != species[first[0]]), None)
        if partner is not None:
            pairs.append((first, free.pop(partner)))
    species = species.copy()
    for first, second in pairs[: rng.integers(1, len(pairs) + 1)]:
        species[first], species[second] = species[second[0]], species[first[0]]
    return species


def _exchanged_orbits(sites: Sites, rng: np.random.Generator) -> Sites | None:
    """Return the atoms after the exchange of whole orbits, with the symmetry made exact; None if there are no two orbits of equal size."""
    found = operations(sites)
    if not len(found):
        return None
    # The orbits of the whole group come first, then those of single operations in random order.
    for chosen in (None, *rng.permutation(len(found))):
        labels = orbits_of(found.images if chosen is None else found.images[[chosen]])
        groups = [np.flatnonzero(labels == label) for label in rng.permutation(np.unique(labels))]
        kinds = {(len(group), int(sites.species[group[0]])) for group in groups}
        if len(groups) < len(labels) and len({size for size, _ in kinds}) < len(kinds):
            exact = made_symmetric(sites, found) if chosen is None else made_cyclic(sites, found, chosen)
            return exact._replace(species=_exchanged_pairs(groups, sites.species, rng))
    return None
