"""Random strain of the cell with rigid molecules, which move and rotate as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, bodies_of
from nucleate.generate.evolution.molecular.contacts import finished_molecules
from nucleate.generate.evolution.strain import rippled, strain

SIGMA = (0.05, 0.3)
"""Range of the standard deviation of the strain."""
AMPLITUDE = (0.2, 2.0)
"""Range of the amplitude of a ripple of the centroids, Å."""
TURN = (0.0, 0.5)
"""Range of the standard deviation of the rotation of a molecule about each axis, radians."""


@dataclass(frozen=True, eq=False)
class MoleculeStrain:
    """Strain of the cell of one parent with rigid molecules.

    The lattice vectors are strained and the centroids displaced by a ripple, as by `StrainRipple`; the molecules keep their shapes and are
    rotated by small random angles. In half of the cases there is a strain alone, which keeps the orientations. The volume remains that of
    the parent, or is larger if molecules are too close.

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
        return first_placed(lambda: finished_molecules(self.contents, strained(bodies, rng), volume))


def strained(bodies: Bodies, rng: np.random.Generator) -> Bodies:
    """Return the molecules in a strained cell; its volume may differ."""
    points = strain(bodies.points, rng.uniform(*SIGMA), rng)
    if rng.random() < 0.5:
        return bodies._replace(cell=points.cell)
    points = rippled(points, rng.uniform(*AMPLITUDE), rng)
    turns = Rotation.from_rotvec(rng.normal(scale=rng.uniform(*TURN), size=(len(bodies.kinds), 3))).as_matrix()
    shapes = tuple(shape @ turn for shape, turn in zip(bodies.shapes, turns, strict=True))
    return Bodies(points.scaled, shapes, bodies.kinds, points.cell)
