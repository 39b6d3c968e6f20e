"""Random strain of the cell with rigid molecules, which move and rotate as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, atomic_sites, bodies_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.strain import rippled, strain
from nucleate.generate.evolution.symmetry import operations

SIGMA = (0.05, 0.3)
"""Range of the standard deviation of the strain."""
AMPLITUDE = (0.2, 2.0)
"""Range of the amplitude of a ripple of the centroids, Å."""
TURN = (0.0, 0.5)
"""Range of the standard deviation of the rotation of a molecule about each axis, radians."""

SYMMETRIC = 0.5
"""Probability of a strain that keeps the space group."""


@dataclass(frozen=True, eq=False)
class MoleculeStrain:
    """Strain of the cell of one parent with rigid molecules.

    In half of the cases there is a strain alone that is invariant under the space group of the parent, so that the child has it as well:
    a random symmetric strain is averaged over the operations. Otherwise the strain is any, the centroids are displaced by a ripple, as by
    `StrainRipple`, and the molecules rotate by small random angles. The molecules keep their shapes. The volume remains that of the parent,
    or is larger if molecules are too close.

    Attributes:
        contents: molecules of the search.
    """

    contents: Contents

    name = "molecule-strain"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a strained child; raise `NotPlaced` if molecules remain too close."""
        bodies = bodies_of(self.contents, parents[0])
        volume = abs(float(np.linalg.det(bodies.cell)))
        rotations = operations(atomic_sites(self.contents, bodies)).rotations

        def attempt() -> Atoms:
            made = strained(bodies, rotations, rng) if rng.random() < SYMMETRIC else disturbed(bodies, rng)
            return finished_molecules(self.contents, made, volume)

        return first_placed(attempt)


def strained(bodies: Bodies, rotations: np.ndarray, rng: np.random.Generator) -> Bodies:
    """Return the molecules in a strained cell that keeps operations of the space group; its volume may differ.

    Args:
        bodies: molecules of the parent.
        rotations: (G, 3, 3) integer matrices of the operations of the parent, which act on columns.
        rng: random number generator.
    """
    inverse = np.linalg.inv(bodies.cell)
    deformation = inverse @ strain(bodies.points, rng.uniform(*SIGMA), rng).cell
    turns = inverse @ rotations.transpose(0, 2, 1) @ bodies.cell
    images = np.linalg.inv(turns) @ deformation @ turns
    return bodies._replace(cell=bodies.cell @ (deformation + images.sum(axis=0)) / (len(turns) + 1))


def disturbed(bodies: Bodies, rng: np.random.Generator) -> Bodies:
    """Return displaced and rotated molecules in a strained cell; its volume may differ."""
    points = rippled(strain(bodies.points, rng.uniform(*SIGMA), rng), rng.uniform(*AMPLITUDE), rng)
    turns = Rotation.from_rotvec(rng.normal(scale=rng.uniform(*TURN), size=(len(bodies.kinds), 3))).as_matrix()
    shapes = tuple(shape @ turn for shape, turn in zip(bodies.shapes, turns, strict=True))
    return Bodies(points.scaled, shapes, bodies.kinds, points.cell)
