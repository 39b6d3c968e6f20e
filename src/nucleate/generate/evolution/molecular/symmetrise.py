"""Completion of an approximate symmetry of a crystal of whole molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, atomic_sites, bodies_of, orthogonal_between
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.sites import Sites
from nucleate.generate.evolution.symmetrise import TOLERANCES
from nucleate.generate.evolution.symmetry import made_symmetric, operations
from nucleate.generate.tries import NotPlaced


@dataclass(frozen=True, eq=False)
class MoleculeSymmetrise:
    """A nearly symmetric parent with the places and orientations of its molecules averaged over its approximate symmetry.

    Tolerances are tried as by `Symmetrise`. The atoms and the cell are averaged over the operations, and each molecule of the parent is
    laid onto its averaged atoms without a change of its geometry. Molecules whose geometries differ keep the difference.

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "molecule-symmetrise"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child of higher symmetry; raise `NotPlaced` if the parent is not nearly symmetric, or molecules are too close."""
        bodies = bodies_of(self.contents, parents[0])
        sites = atomic_sites(self.contents, bodies)
        before = len(operations(sites))
        start = 0 if rng.random() < 0.5 else int(rng.integers(len(TOLERANCES)))
        reason = "the parent is not nearly symmetric"
        for tolerance in TOLERANCES[start:]:
            found = operations(sites, tolerance)
            if len(found) <= before:
                continue
            try:
                return finished_molecules(self.contents, _laid(self.contents, bodies, made_symmetric(sites, found)))
            except NotPlaced as error:
                reason = str(error)
        raise NotPlaced(reason)


def _laid(contents: Contents, bodies: Bodies, averaged: Sites) -> Bodies:
    """Return the molecules at their averaged places and orientations."""
    other = bodies_of(contents, Atoms(numbers=averaged.species, scaled_positions=averaged.scaled, cell=averaged.cell, pbc=True))
    pairs = zip(bodies.shapes, other.shapes, strict=True)
    return other._replace(shapes=tuple(own @ orthogonal_between(own, wanted, 1.0) for own, wanted in pairs))
