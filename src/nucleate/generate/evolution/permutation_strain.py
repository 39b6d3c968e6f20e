"""Exchange of atoms together with a strain of the cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.permutation import Permutation, exchanged
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.evolution.strain import SIGMA, strain
from nucleate.generate.packing import Packing


@dataclass(frozen=True, eq=False)
class PermutationStrain:
    """Exchange of pairs of unlike atoms of one parent, and a random strain of its cell.

    Pairs of single atoms are exchanged as by `Permutation`, and the cell is strained as by `StrainRipple`, without a ripple. The volume
    remains that of the parent. The operator is the permustrain of XtalOpt: D. C. Lonie and E. Zurek, Comput. Phys. Commun. 182, 372 (2011),
    doi:10.1016/j.cpc.2010.07.048.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        sigma: range of the standard deviation of the strain.
    """

    packing: Packing
    sigma: tuple[float, float] = SIGMA

    name = "permutation-strain"
    parents = 1
    applicable = staticmethod(Permutation.applicable)

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a strained child with exchanged atoms; raise `NotPlaced` for an element, or if atoms remain too close."""
        sites = sites_of(self.packing, parents[0])

        def attempt() -> Atoms:
            child = strain(exchanged(sites, rng), rng.uniform(*self.sigma), rng)
            return finished(self.packing, child, parents, sites.volume)

        return first_placed(attempt)
