"""Rotation of whole molecules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.crystals.point_groups import turned
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, bodies_of, nearest_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules

ANGLES = np.pi * np.array([1 / 3, 1 / 2, 2 / 3, 1.0])
"""Angles of which one is drawn in half of the cases, radians; the others are uniform."""
RANGE = (np.pi / 12, np.pi)
"""Range of the other angles, radians."""
TOGETHER = 0.5
"""Probability that all molecules of a kind rotate in the same way."""


@dataclass(frozen=True, eq=False)
class MoleculeRotation:
    """Rotation of molecules of one parent about their centroids.

    The axis is a principal axis of the molecule, a lattice vector or random, and the angle 60, 90, 120 or 180 degrees or random. In half of
    the cases, all molecules of one kind rotate alike: the rotation of the first one is carried over by the rotations or rotoinversions that
    map it onto the others, so that symmetric crystals have symmetric children. Otherwise between one and all molecules rotate, each in its
    own way. The volume is that of the parent, or larger if molecules are too close.

    Rotation of molecules as a variation: Q. Zhu, A. R. Oganov, C. W. Glass and H. T. Stokes, Acta Cryst. B (2012),
    "Constrained evolutionary algorithm for structure prediction of molecular crystals".

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "molecule-rotation"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with rotated molecules; raise `NotPlaced` if they remain too close."""
        bodies = bodies_of(self.contents, parents[0])
        return first_placed(lambda: finished_molecules(self.contents, rotated(bodies, rng)))


def rotated(bodies: Bodies, rng: np.random.Generator) -> Bodies:
    """Return the molecules after a rotation of some of them."""
    shapes = list(bodies.shapes)
    if rng.random() < TOGETHER:
        mine = np.flatnonzero(bodies.kinds == rng.choice(np.unique(bodies.kinds)))
        first = shapes[mine[0]]
        rotation = _drawn(first, bodies.cell, rng)
        for k in mine:
            carried = nearest_of(first, shapes[k], rng)
            shapes[k] = shapes[k] @ carried.T @ rotation @ carried
    else:
        for k in rng.permutation(len(shapes))[: int(rng.integers(1, len(shapes) + 1))]:
            shapes[k] = shapes[k] @ _drawn(shapes[k], bodies.cell, rng)
    return bodies._replace(shapes=tuple(shapes))


def _drawn(shape: np.ndarray, cell: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a (3, 3) matrix R of a random rotation, for which positions become `positions @ R`."""
    kind = int(rng.integers(3))
    axis = rng.normal(size=3)
    if kind == 0:
        axis = np.linalg.svd(shape, full_matrices=True)[2][rng.integers(3)]
    elif kind == 1:
        axis = cell[rng.integers(3)]
    angle = float(rng.choice(ANGLES)) if rng.random() < 0.5 else float(rng.choice([-1.0, 1.0]) * rng.uniform(*RANGE))
    return np.asarray(turned(axis / np.linalg.norm(axis), angle).T)
