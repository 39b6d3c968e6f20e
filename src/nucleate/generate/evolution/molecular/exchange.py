"""Exchange of molecules of different kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, bodies_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.tries import NotPlaced


@dataclass(frozen=True, eq=False)
class MoleculeExchange:
    """Exchange of the places of molecules of different kinds of one parent.

    Between one and all possible disjoint pairs of unlike molecules exchange their centroids. They keep their orientations in half of the
    cases, and otherwise take random ones. The volume is that of the parent, or larger if molecules are too close.

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "molecule-exchange"
    parents = 1

    @staticmethod
    def applicable(contents: Contents) -> bool:
        """Return whether there are molecules of different kinds."""
        return len(contents.molecules) > 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with exchanged molecules; raise `NotPlaced` if all are of one kind, or if they remain too close."""
        bodies = bodies_of(self.contents, parents[0])
        return first_placed(lambda: finished_molecules(self.contents, exchanged_molecules(bodies, rng)))


def exchanged_molecules(bodies: Bodies, rng: np.random.Generator) -> Bodies:
    """Return the molecules with exchanged centroids; raise `NotPlaced` if all are of one kind."""
    free = [int(k) for k in rng.permutation(len(bodies.kinds))]
    pairs = []
    while free:
        first = free.pop(0)
        partner = next((k for k in free if bodies.kinds[k] != bodies.kinds[first]), None)
        if partner is not None:
            free.remove(partner)
            pairs.append((first, partner))
    if not pairs:
        raise NotPlaced("molecules of one kind cannot be exchanged")
    centres, shapes = bodies.centres.copy(), list(bodies.shapes)
    turn = rng.random() < 0.5
    for pair in pairs[: int(rng.integers(1, len(pairs) + 1))]:
        centres[list(pair)] = centres[list(pair[::-1])]
        for k in pair if turn else ():
            shapes[k] = shapes[k] @ Rotation.random(rng=rng).as_matrix()
    return bodies._replace(centres=centres, shapes=tuple(shapes))
