"""Completion of an approximate symmetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.evolution.symmetry import made_symmetric, operations
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
        before = len(operations(sites))
        start = 0 if rng.random() < 0.5 else int(rng.integers(len(TOLERANCES)))
        reason = "the parent is not nearly symmetric"
        for tolerance in TOLERANCES[start:]:
            found = operations(sites, tolerance)
            if len(found) <= before:
                continue
            higher = made_symmetric(sites, found)
            # Operations within a loose tolerance need not form a group; the averaged positions then have fewer of them.
            if len(operations(higher, EXACT)) <= before:
                continue
            try:
                return finished(self.packing, higher, parents)
            except NotPlaced as error:
                reason = str(error)
        raise NotPlaced(reason)
