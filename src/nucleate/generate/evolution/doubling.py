"""Supercells of parents of fewer formula units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.permutation import Permutation, exchanged
from nucleate.generate.evolution.sites import Sites, sites_of
from nucleate.generate.evolution.strain import rippled
from nucleate.generate.lattices import compact, hermite_forms
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

DISPLACEMENT = (0.05, 0.3)
"""Range of the root-mean-square displacement of the atoms, and of the amplitude of a ripple, Å."""
COMPACT = 1.4
"""Largest length of the longest lattice vector of a supercell, relative to that of the most compact one."""
FORMS = 24
"""Largest number of supercells that are compared."""
EXCHANGE = 0.25
"""Probability that atoms of a compound are exchanged as well."""


@dataclass(frozen=True, eq=False)
class AddUnits:
    """Supercell of a parent with fewer formula units.

    The parent is repeated in a supercell that has exactly the atoms of the search, drawn from the compact ones of the Hermite normal forms.
    So that the child can leave the symmetry of the smaller cell, all atoms are displaced at random; in half of the cases they are also
    displaced by a ripple, and in a quarter unlike atoms are exchanged. XtalOpt 14 has a random expansion to supercells: S. Hajinazar and E.
    Zurek, arXiv:2506.17246.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        displacement: range of the root-mean-square displacement and of the amplitude of the ripple, Å; (0, 0) gives the plain supercell.
    """

    packing: Packing
    displacement: tuple[float, float] = DISPLACEMENT

    name = "add-units"
    parents = 1

    @staticmethod
    def applicable(packing: Packing) -> bool:
        """Return whether the composition consists of several formula units."""
        return int(np.gcd.reduce(packing.counts)) > 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a disturbed supercell.

        Raises:
            NotPlaced: the atoms of the search are not two or more times those of the parent, or atoms remain too close.
        """
        copies = self.packing.n_atoms // max(len(parents[0]), 1)
        if copies < 2:
            raise NotPlaced("a parent does not have fewer formula units than the search")
        small = sites_of(self.packing, parents[0], copies)

        def attempt() -> Atoms:
            return finished(self.packing, self._disturbed(repeated(small, copies, rng), rng), parents)

        return first_placed(attempt)

    def _disturbed(self, sites: Sites, rng: np.random.Generator) -> Sites:
        """Return the atoms after a random displacement."""
        if self.displacement[1] <= 0.0:
            return sites
        size = rng.uniform(*self.displacement)
        steps = rng.normal(scale=size / np.sqrt(3.0), size=sites.scaled.shape)
        sites = sites._replace(scaled=sites.scaled + steps @ np.linalg.inv(sites.cell))
        if rng.random() < 0.5:
            sites = rippled(sites, rng.uniform(*self.displacement), rng)
        return exchanged(sites, rng) if Permutation.applicable(self.packing) and rng.random() < EXCHANGE else sites


def repeated(sites: Sites, copies: int, rng: np.random.Generator) -> Sites:
    """Return a random one of the compact supercells with this number of copies."""
    forms = hermite_forms(copies)
    forms = [forms[k] for k in rng.permutation(len(forms))[:FORMS]]
    longest = np.array([np.linalg.norm(compact(np.zeros((1, 3)), form @ sites.cell)[1], axis=1).max() for form in forms])
    form = forms[rng.choice(np.flatnonzero(longest <= COMPACT * longest.min()))]
    # In Hermite form, the copies are at all combinations of fewer steps than the diagonal elements.
    steps = np.stack(np.meshgrid(*(np.arange(n) for n in form.diagonal()), indexing="ij"), axis=-1).reshape(-1, 3)
    scaled = (sites.scaled[:, None] + steps).reshape(-1, 3) @ np.linalg.inv(form)
    return Sites(scaled, form @ sites.cell, np.repeat(sites.species, copies))
