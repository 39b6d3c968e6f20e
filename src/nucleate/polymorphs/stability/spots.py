"""Spot checks: the error of a committee's forces on a few displaced structures that the reference labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.polymorphs.stability.prepared import Prepared
from nucleate.polymorphs.stability.surface import Surface
from nucleate.progress import Progress, silent

PURPOSE = "spot checks"
ATOMS = 6
"""Smallest number of atoms of the cells of spot checks, which are multiples of the primitive cell."""
SIZE = 0.05
"""Root mean square displacement of a coordinate, Å."""
SEED = 10


@dataclass(frozen=True)
class SpotCheck:
    """Error of the committee's forces on displaced structures of one polymorph.

    Attributes:
        structures: number of structures.
        rmse: root mean square error of the components of the forces of the committee's mean, eV/Å.
        largest: largest error of a component, eV/Å.
        forces: root mean square of the components of the reference, eV/Å.
    """

    structures: int
    rmse: float
    largest: float
    forces: float

    @property
    def share(self) -> float:
        """Error relative to the forces of the reference."""
        return self.rmse / max(self.forces, 1e-12)


def spot_structures(prepared: Prepared, count: int) -> list[Atoms]:
    """Return `count` randomly displaced structures of a polymorph, the same in every check."""
    cell = prepared.atoms
    while len(cell) < ATOMS:
        cell = cell.repeat([2 if k == int(np.argmin(cell.cell.lengths())) else 1 for k in range(3)])
    rng = np.random.default_rng(SEED)
    structures = []
    for _ in range(count):
        copy = cell.copy()
        copy.positions += rng.normal(scale=SIZE, size=cell.positions.shape)
        structures.append(copy)
    return structures


def spot_checks(
    prepared: list[Prepared], committee: Surface, reference: Surface, count: int, progress: Progress = silent
) -> list[SpotCheck]:
    """Return the force error for each polymorph.

    Args:
        prepared: the polymorphs.
        committee: surface of the check.
        reference: surface that labels the structures.
        count: number of structures of each polymorph.
        progress: called with a `Step` after each label.

    Raises:
        ReferenceFailed: a calculation failed.
    """
    structures = [atoms for each in prepared for atoms in spot_structures(each, count)]
    labels = reference.evaluate(structures, PURPOSE, progress).split([count] * len(prepared))
    predicted = committee.evaluate(structures, PURPOSE).split([count] * len(prepared))
    checks = []
    for true, own in zip(labels, predicted, strict=True):
        exact = np.concatenate([forces[0] for forces in true.forces])
        error = np.concatenate([forces.mean(axis=0) for forces in own.forces]) - exact
        rms = [float(np.sqrt((each**2).mean())) for each in (error, exact)]
        checks.append(SpotCheck(count, rms[0], float(np.abs(error).max()), rms[1]))
    return checks
