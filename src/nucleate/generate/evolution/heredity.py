"""Cut and splice: a child of slabs of two parents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.alignment import Aligned, aligned, with_origins
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.base import limits
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.lattice_choices import cell_of, dissimilarity, lattice_choices, metrics, with_vectors
from nucleate.generate.evolution.sites import Sites, sites_of
from nucleate.generate.evolution.splicing import Spliced, depth_in_slab, mismatch, repaired
from nucleate.generate.evolution.symmetry import symmetric_metric
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

THICKNESS = (0.25, 0.75)
"""Range of the fraction of the first lattice vector that the slab of the first parent takes."""
CUTS = 16
"""Number of random cuts, of which the one with the fewest atoms to repair is used."""
SIMILAR = 5
"""Number of the most similar cells of the second parent of which one is drawn."""


@dataclass(frozen=True, eq=False)
class Heredity:
    """Cut and splice of two parents.

    1. Lattice vectors of the first parent are drawn from those that are nearly as short as possible, and for the second parent from those
       with the most similar metric tensor. Signs and order of the vectors are part of the choice.
    2. Both parents are shifted at random. The child consists of the atoms of the first parent from 0 to f along the first lattice vector, f
       between 0.25 and 0.75, and of those of the second parent from f to 1. Of several such cuts, the one with the fewest atoms too many
       or too few is used.
    3. Surplus atoms closest to the cuts are removed; missing ones are taken from the discarded slabs, again those closest to the cuts.
    4. The metric tensor is a mean of those of the parents, with f, a random number, 0 or 1 as the weight; the volume is the mean with
       weight f.

    With a probability of 1/2 the parents are aligned: the lattice vectors are such that a symmetry operation of both parents has the same
    matrix and maps the cut planes onto each other, and the parents are shifted so that the operations coincide and the slabs are mapped
    onto themselves. The child then has this operation exactly if its composition can be repaired by whole orbits.

    Sources: D. M. Deaven and K. M. Ho, Phys. Rev. Lett. 75, 288 (1995), doi:10.1103/PhysRevLett.75.288, for clusters; C. W. Glass, A. R.
    Oganov and N. Hansen, Comput. Phys. Commun. 175, 713 (2006), doi:10.1016/j.cpc.2006.07.020, for crystals.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        alignment: probability of the symmetric alignment.
    """

    packing: Packing
    alignment: float = 0.5

    name = "heredity"
    parents = 2

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of slabs of both parents.

        Raises:
            NotPlaced: a parent has other atoms than the search, or atoms of all children tried are too close.
        """
        first, second = (sites_of(self.packing, atoms) for atoms in parents)
        smallest = limits(self.packing, parents)
        if rng.random() < 0.5:
            first, second = second, first
        if rng.random() < self.alignment:
            try:
                pair = aligned(first, second, rng)
                return first_placed(lambda: self._aligned(pair, smallest, parents, rng))
            except NotPlaced:
                pass  # parents without a common operation have children nevertheless
        return first_placed(lambda: self._free(first, second, smallest, parents, rng))

    def _free(self, first: Sites, second: Sites, smallest: np.ndarray, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of freely chosen slabs."""
        one, other = similar_vectors(first, second, rng)
        counts = np.array(self.packing.counts)
        thickness = rng.uniform(*THICKNESS, size=(CUTS, 1))
        shifts = rng.random((2, CUTS, 3))
        depth = np.concatenate(
            [
                depth_in_slab(one.scaled[:, 0] + shifts[0, :, :1], thickness),
                -depth_in_slab(other.scaled[:, 0] + shifts[1, :, :1], thickness),
            ],
            axis=1,
        )
        species = np.concatenate([one.species, other.species])
        best = int(np.argmin(mismatch(depth > 0.0, species, counts)))
        scaled = np.concatenate([one.scaled + shifts[0, best], other.scaled + shifts[1, best]])
        metric, volume = mean_cell(one, other, float(thickness[best, 0]), rng)
        child = Spliced(scaled, species, depth[best], np.arange(len(species)))
        return self._joined([child], cell_of(metric, volume), smallest, parents)

    def _aligned(self, pair: tuple[Aligned, Aligned], smallest: np.ndarray, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with the common operation of its parents, or without it if whole orbits do not give the composition."""
        counts = np.array(self.packing.counts)
        orbits = np.concatenate([pair[0].orbits, pair[1].orbits + len(pair[0].orbits)])
        species = np.concatenate([parent.sites.species for parent in pair])
        sizes = np.maximum(np.bincount(orbits, minlength=len(orbits)), 1)
        cuts = []
        for _ in range(CUTS):
            thickness = float(rng.uniform(*THICKNESS))
            one, other = with_origins(pair, thickness, rng)
            depth = np.concatenate([depth_in_slab(one.scaled[:, 0], thickness), -depth_in_slab(other.scaled[:, 0], thickness)])
            # Rounding must not separate atoms of an orbit that lie on the two cuts.
            depth = (np.bincount(orbits, depth, len(orbits)) / sizes)[orbits]
            cuts.append((thickness, Spliced(np.concatenate([one.scaled, other.scaled]), species, depth, orbits)))
        wrong = mismatch(np.array([spliced.depth > 0.0 for _, spliced in cuts]), species, counts)
        cuts = [cuts[k] for k in np.argsort(wrong, kind="stable")]
        thickness = cuts[0][0]
        metric, volume = mean_cell(pair[0].sites, pair[1].sites, thickness, rng)
        cell = cell_of(symmetric_metric(metric, pair[0].rotation), volume)
        single = cuts[0][1]._replace(orbits=np.arange(len(species)))
        return self._joined([*(spliced for _, spliced in cuts), single], cell, smallest, parents)

    def _joined(self, choices: list[Spliced], cell: np.ndarray, smallest: np.ndarray, parents: Sequence[Atoms]) -> Atoms:
        """Return the child of the first choice that can be repaired."""
        for spliced in choices:
            atoms = repaired(spliced, np.array(self.packing.counts), cell, smallest)
            if atoms is not None:
                return finished(self.packing, Sites(spliced.scaled[atoms], cell, spliced.species[atoms]), parents)
        raise NotPlaced("the composition of the child could not be repaired")


def similar_vectors(first: Sites, second: Sites, rng: np.random.Generator) -> tuple[Sites, Sites]:
    """Return both parents with random lattice vectors of similar metric tensors."""
    choices = lattice_choices(first.cell), lattice_choices(second.cell)
    own = choices[0][rng.integers(len(choices[0]))]
    distance = dissimilarity(metrics(first.cell, own[None])[0], metrics(second.cell, choices[1]))
    # The negative of a choice has the same metric tensor, and which of the two comes first must not depend on rounding.
    order = np.argsort(np.round(distance, 6), kind="stable")[: 2 * SIMILAR]
    return with_vectors(first, own), with_vectors(second, choices[1][rng.choice(order)])


def mean_cell(one: Sites, other: Sites, thickness: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return the mean metric tensor for a volume of 1, and the mean volume in Å³."""
    weight = (thickness, thickness, float(rng.random()), float(rng.integers(2)))[rng.integers(4)]
    tensors = [metrics(sites.cell, np.eye(3)[None])[0] for sites in (one, other)]
    return weight * tensors[0] + (1.0 - weight) * tensors[1], thickness * one.volume + (1.0 - thickness) * other.volume
