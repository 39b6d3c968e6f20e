"""Random strain of the cell with a periodic displacement of the atoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import Sites, sites_of
from nucleate.generate.packing import Packing

SIGMA = (0.05, 0.3)
"""Range of the standard deviation of the strain."""
AMPLITUDE = (0.2, 1.0)
"""Range of the amplitude of a ripple, Å."""
WAVES = 2
"""Largest number of periods of a ripple along a lattice vector."""


@dataclass(frozen=True, eq=False)
class StrainRipple:
    """Strain and ripple of one parent.

    The lattice vectors are multiplied by a symmetric matrix 1 + e whose diagonal elements e_ii and doubled other elements 2 e_ij are
    normally distributed. The atoms are then displaced along one lattice vector by a product of cosines of the fractional coordinates along
    the two others, with integer numbers of periods and random phases. The volume remains that of the parent.

    The operator is the stripple of XtalOpt: D. C. Lonie and E. Zurek, Comput. Phys. Commun. 182, 372 (2011),
    doi:10.1016/j.cpc.2010.07.048.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        sigma: range of the standard deviation of the strain.
        amplitude: range of the amplitude of the ripple, Å.
    """

    packing: Packing
    sigma: tuple[float, float] = SIGMA
    amplitude: tuple[float, float] = AMPLITUDE

    name = "strain"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a strained and rippled child of the volume of its parent; raise `NotPlaced` if atoms remain too close."""
        sites = sites_of(self.packing, parents[0])

        def attempt() -> Atoms:
            strained = rippled(strain(sites, rng.uniform(*self.sigma), rng), rng.uniform(*self.amplitude), rng)
            return finished(self.packing, strained, parents, sites.volume)

        return first_placed(attempt)


def strain(sites: Sites, sigma: float, rng: np.random.Generator) -> Sites:
    """Return the atoms in a cell under a random symmetric strain of standard deviation `sigma`; its volume may differ."""
    upper = np.triu(rng.normal(scale=sigma, size=(3, 3)))
    matrix = np.eye(3) + 0.5 * (upper + upper.T)
    return sites._replace(cell=sites.cell @ matrix)


def rippled(sites: Sites, amplitude: float, rng: np.random.Generator) -> Sites:
    """Return the atoms displaced along a random lattice vector by cosines along the two others; `amplitude` is in Å."""
    along, one, other = rng.permutation(3)
    # A displacement without any period would move the crystal as a whole.
    periods = np.array([(i, j) for i in range(WAVES + 1) for j in range(WAVES + 1) if i + j])[rng.integers((WAVES + 1) ** 2 - 1)]
    phases = 2 * np.pi * (periods * sites.scaled[:, [one, other]] + rng.random(2))
    scaled = sites.scaled.copy()
    scaled[:, along] += amplitude / np.linalg.norm(sites.cell[along]) * np.cos(phases).prod(axis=1)
    return sites._replace(scaled=scaled)
