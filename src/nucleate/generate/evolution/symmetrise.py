"""Completion of an approximate symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.fingerprints.matching import idealised, symmetrised, symmetry
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import numbers_of, sites_of
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

TOLERANCES = (0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
"""Tolerances that are tried, Å; all symmetry at 0.1 Å counts as exact."""
EXACT = 1e-3
"""Tolerance at which a child must have its symmetry, Å."""


@dataclass(frozen=True, eq=False)
class Symmetrise:
    """A nearly symmetric parent made symmetric.

    Increasing tolerances are tried, from the lowest one in half of the cases and from a random one in the others. At the first at which the
    parent has more symmetry operations than at 0.1 Å, positions and cell are averaged over the operations.

    For clusters, such moves are those of M. T. Oakley, R. L. Johnston and D. J. Wales, Phys. Chem. Chem. Phys. 15, 3965 (2013),
    doi:10.1039/c3cp44332a; here the operations are those of the space group within a tolerance.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
    """

    packing: Packing

    name = "symmetrise"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of higher symmetry; raise `NotPlaced` if the parent is not nearly symmetric, or atoms are too close."""
        sites = sites_of(self.packing, parents[0])
        atoms = Atoms(numbers=numbers_of(self.packing, sites.species), scaled_positions=sites.scaled, cell=sites.cell, pbc=True)
        before = symmetry(atoms)
        start = 0 if rng.random() < 0.5 else int(rng.integers(len(TOLERANCES)))
        reason = "the parent is not nearly symmetric"
        for tolerance in TOLERANCES[start:]:
            found = symmetrised(atoms, tolerance)
            if found is None:
                continue
            # Operations found at a loose tolerance need not be those that the averaged positions have.
            higher = idealised(found[0])
            own = symmetry(higher, EXACT)
            if own.order <= before.order and own.sites >= before.sites:
                continue
            try:
                return finished(self.packing, sites_of(self.packing, higher), parents, sites.volume)
            except NotPlaced as error:
                reason = str(error)
        raise NotPlaced(reason)
