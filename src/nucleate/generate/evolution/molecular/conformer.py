"""Change of conformers: rotation of parts of molecules about their single bonds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, bodies_of, nearest_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.tries import NotPlaced
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.torsions import closest_allowed, rotatable_bonds, turn_about

ANGLES = np.pi * np.array([1 / 3, 2 / 3, 1.0, 4 / 3, 5 / 3])
"""Angles of which one is drawn in half of the cases, radians: between staggered conformers; the others are uniform."""
TOGETHER = 0.5
"""Probability that all molecules of a kind change alike."""


@dataclass(frozen=True, eq=False)
class Conformer:
    """Change of torsions of molecules of one parent.

    In molecules of one kind, one or more single bonds outside rings rotate by a multiple of 60 degrees or by a random angle. In half of the
    cases all molecules of the kind change alike, mirror images by the opposite angle, so that symmetric crystals have symmetric children;
    otherwise one of them changes. Bond lengths and angles are those of the parent. The volume is larger if molecules are too close.

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "conformer"
    parents = 1

    @staticmethod
    def applicable(contents: Contents) -> bool:
        """Return whether a molecule has bonds that rotate."""
        return any(rotatable_bonds(molecule) for molecule in contents.molecules)

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with other torsions.

        Raises:
            NotPlaced: no bond rotates, parts of a molecule are too close, or molecules are.
        """
        bodies = bodies_of(self.contents, parents[0])
        return first_placed(lambda: finished_molecules(self.contents, changed(self.contents, bodies, rng)))


def changed(contents: Contents, bodies: Bodies, rng: np.random.Generator) -> Bodies:
    """Return the molecules with other torsions; raise `NotPlaced` if no bond rotates or parts of a molecule are too close."""
    bonds = [rotatable_bonds(molecule) for molecule in contents.molecules]
    flexible = [kind for kind in np.unique(bodies.kinds) if bonds[kind]]
    if not flexible:
        raise NotPlaced("no bond of the molecules rotates")
    kind = int(rng.choice(flexible))
    chosen = rng.permutation(len(bonds[kind]))[: int(rng.integers(1, len(bonds[kind]) + 1))]
    angles = np.where(rng.random(len(chosen)) < 0.5, rng.choice(ANGLES, len(chosen)), rng.uniform(0, 2 * np.pi, len(chosen)))
    mine = np.flatnonzero(bodies.kinds == kind)
    first = bodies.shapes[mine[0]]
    if rng.random() >= TOGETHER:
        mine = rng.choice(mine, 1)
    shapes = list(bodies.shapes)
    for k in mine:
        sign = np.sign(np.linalg.det(nearest_of(first, shapes[k], rng)))
        shape = shapes[k]
        for bond, angle in zip(chosen, angles, strict=True):
            shape = turn_about(shape, bonds[kind][bond], float(sign * angle))
        _check(contents.molecules[kind], shape)
        # The larger part of the molecule need not be the one that stays, so the centroid is kept.
        shapes[k] = shape - shape.mean(axis=0)
    return bodies._replace(shapes=tuple(shapes))


def _check(molecule: Molecule, shape: np.ndarray) -> None:
    """Raise `NotPlaced` if atoms of a molecule that are not bonded are too close."""
    if (np.linalg.norm(shape[:, None] - shape, axis=2) < closest_allowed(molecule)).any():
        raise NotPlaced("parts of a molecule are too close")
