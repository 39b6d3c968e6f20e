"""Energy surfaces on which polymorphs are checked: a committee, or the reference through its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from ase import Atoms

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import ReferenceFailed
from nucleate.potentials.base import Potential
from nucleate.progress import Event, Progress, Step, silent
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.reference_surface import ReferencePotential

CAPACITY = 2000
"""Number of atoms that a committee evaluates at a time; one structure may have more."""


@dataclass(frozen=True)
class Evaluated:
    """Energies, forces and stresses of n structures on a surface with m members.

    Attributes:
        energy: (m, n) energies, eV.
        forces: for each structure (m, n_atoms, 3) forces, eV/Å.
        stress: (m, n, 3, 3) stresses, eV/Å³, tension positive.
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: np.ndarray

    @property
    def members(self) -> int:
        """Number of members; 1 for a reference."""
        return len(self.energy)

    def split(self, counts: Sequence[int]) -> list[Evaluated]:
        """Return the parts of successive lists of structures with the given lengths."""
        ends = np.cumsum([0, *counts])
        return [Evaluated(self.energy[:, a:b], self.forces[a:b], self.stress[:, a:b]) for a, b in pairwise(ends)]


class Surface(Protocol):
    """Energy surface of a check.

    Attributes:
        name: name for tables and pages.
        surrogate: whether results are those of a surrogate rather than of a reference or of a committee.
        exact: whether every evaluation is a reference call, which costs a calculation.
    """

    name: str
    surrogate: bool
    exact: bool

    def evaluate(
        self, structures: Sequence[Atoms], purpose: str, progress: Progress = silent, like: Sequence[Atoms] | None = None
    ) -> Evaluated:
        """Return energies, forces and stresses of structures of any sizes, in order.

        Args:
            structures: the structures.
            purpose: purpose of the evaluation, which names the phase of the progress and, on the reference, the ledger's rows.
            progress: called with a `Step` as the evaluation advances.
            like: for each structure one of which it is a strained version, whose k-points a reference uses, so that differences between
                strains have no error of the sampling; None: each structure has its own.

        Raises:
            ReferenceFailed: a reference calculation failed.
            BadInput: the committee does not support an element.
        """
        ...

    def potential(self, purpose: str) -> Potential:
        """Return the surface as a potential for one relaxation."""
        ...


class CommitteeForces:
    """Committee as a surface: all structures are evaluated as batches of at most `CAPACITY` atoms, with the members kept apart.

    Args:
        committee: a committee, or a single potential.
        name: name for tables and pages.
    """

    surrogate = False
    exact = False

    def __init__(self, committee: Potential, name: str):
        self.committee, self.name = committee, name

    def potential(self, purpose: str) -> Potential:
        """Return the committee."""
        return self.committee

    def evaluate(
        self, structures: Sequence[Atoms], purpose: str, progress: Progress = silent, like: Sequence[Atoms] | None = None
    ) -> Evaluated:
        """Return the predictions of all members; see `Surface`."""
        energy, forces, stress = [], [], []
        for first, last in _chunks([len(atoms) for atoms in structures]):
            batch = CrystalBatch.from_atoms(structures[first:last])
            prediction = self.committee.energy_forces_stress(batch)
            energy.append(prediction.energy.detach().double().numpy())
            stress.append(prediction.stress.detach().double().numpy())
            ends = np.cumsum(batch.counts.numpy())[:-1]
            forces += np.split(prediction.forces.detach().double().numpy(), ends, axis=1)
            progress(Step(purpose, last, len(structures)))
        return Evaluated(np.concatenate(energy, axis=1), forces, np.concatenate(stress, axis=1))


def _chunks(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Return first and last index of successive chunks with at most `CAPACITY` atoms, or one structure."""
    chunks: list[tuple[int, int]] = []
    first, total = 0, 0
    for k, size in enumerate(sizes):
        if k > first and total + size > CAPACITY:
            chunks.append((first, k))
            first, total = k, 0
        total += size
    return [*chunks, (first, len(sizes))] if len(sizes) else []


class ReferenceForces:
    """Reference as a surface with one member; every evaluation is a row of the ledger, so that none is paid for twice.

    Args:
        dispatcher: runs the calculations.
    """

    exact = True

    def __init__(self, dispatcher: Dispatcher):
        self.dispatcher = dispatcher
        self.name, self.surrogate = dispatcher.reference.name, dispatcher.reference.surrogate

    def potential(self, purpose: str) -> Potential:
        """Return a new potential, which keeps the k-points of the first geometries of one relaxation."""
        return ReferencePotential(self.dispatcher, purpose, 0)

    def evaluate(
        self, structures: Sequence[Atoms], purpose: str, progress: Progress = silent, like: Sequence[Atoms] | None = None
    ) -> Evaluated:
        """Label the structures; see `Surface`."""
        done = 0

        def count(event: Event, /) -> None:
            nonlocal done
            done += 1
            progress(Step(purpose, done, len(structures)))

        labels = []
        for answer in self.dispatcher.label_many(structures, purpose, 0, progress=count, like=like):
            if not isinstance(answer, Label):
                assert isinstance(answer, ReferenceFailed)
                raise answer
            labels.append(answer)
        stress = np.array([label.stress for label in labels])[:, [[0, 5, 4], [5, 1, 3], [4, 3, 2]]]
        return Evaluated(np.array([[label.energy for label in labels]]), [np.asarray(label.forces)[None] for label in labels], stress[None])
