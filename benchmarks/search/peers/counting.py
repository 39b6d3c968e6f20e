"""Evaluations of the reference that a search program may use, counted in one place, and the rule that ends its run.

Every evaluation of energy, forces and stress by any search program goes through `Counter.evaluate`. A search program either relaxes with
`Trial.relax` or `AseRelaxation`, or takes a `CountingCalculator`. It reports each end point to `Trial.confirm`, which applies the help
that the searches of nucleate have: an end point with a higher symmetry within 0.3 Å is relaxed in its symmetrised form as well, and these
evaluations count. Comparing a structure with the target costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from nucleate.benchmark.targets import HIT_ENERGY, Target
from nucleate.benchmark.trials import ALMOST_EQUAL, CONVERGED
from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.strain import full_from_voigt
from nucleate.csp.leads import NEARLY_SYMMETRIC
from nucleate.errors import ReferenceFailed
from nucleate.fingerprints.matching import symmetrised
from nucleate.potentials.base import Prediction
from nucleate.reference.base import Label
from nucleate.relax.batched import MOST_FORCE, Relaxed, relax
from nucleate.units import GPA

Labels = Callable[[Atoms], Label]
"""Evaluation of a structure by the reference."""


class Ended(BaseException):
    """End of a run: `hit`, `budget` or `time`.

    It is no `Exception`, because the programs catch exceptions of their calculators and go on.
    """


class Counter:
    """Number of evaluations of the reference, and the processor time of the run.

    Args:
        label: evaluates a structure.
        budget: number of evaluations after which the run ends.
    """

    def __init__(self, label: Labels, budget: int):
        self.label = label
        self.budget = budget
        self.calls = 0
        self._started = time.process_time()

    @property
    def cpu_seconds(self) -> float:
        """Processor time of this process since the start, s."""
        return time.process_time() - self._started

    def evaluate(self, atoms: Atoms) -> Label:
        """Evaluate a structure; failures count as well.

        Raises:
            Ended: no evaluations are left.
            ReferenceFailed: the reference cannot evaluate the structure.
        """
        if self.calls >= self.budget:
            raise Ended("budget")
        self.calls += 1
        return self.label(Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=True))


class CountingCalculator(Calculator):  # type: ignore[misc]
    """ASE calculator of one structure; energy, forces and stress of one geometry are one evaluation."""

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, counter: Counter):
        super().__init__()
        self.counter = counter

    def calculate(self, atoms: Atoms | None = None, properties: Any = None, system_changes: list[str] = all_changes) -> None:
        """Evaluate the structure, whatever property is required."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        label = self.counter.evaluate(self.atoms)
        self.results = {"energy": label.energy, "free_energy": label.energy, "forces": label.forces, "stress": label.stress}


class CountedPotential:
    """The counted reference with the interface of a potential, for the relaxation of nucleate."""

    cutoff = 1.0
    species = tuple(range(1, 119))

    def __init__(self, counter: Counter):
        self.counter = counter

    def layout(self, batch: CrystalBatch, edges: Any) -> None:
        """Return None: a reference has no tables of neighbours."""

    def energy_forces_stress(self, batch: CrystalBatch, edges: Any = None, layout: Any = None, mean_forces: bool = False) -> Prediction:
        """Evaluate the structures of a batch."""
        labels = [self.counter.evaluate(atoms) for atoms in batch.to_atoms()]
        return Prediction(
            torch.tensor([[label.energy for label in labels]], dtype=torch.float64),
            torch.as_tensor(np.concatenate([label.forces for label in labels])).unsqueeze(0),
            full_from_voigt(torch.as_tensor(np.stack([label.stress for label in labels]))).unsqueeze(0),
        )


class Trial:
    """One run of a search program until it reaches the target.

    Args:
        counter: evaluates and counts.
        target: ground state of the system.

    Attributes:
        first_low: number of evaluations until a structure within 5 meV/atom of the lowest known energy, or None.
        best: lowest energy of an end point, eV/atom, or None.
        ends: number of end points.
        lower: energies of end points more than 5 meV/atom below the lowest known energy, eV/atom.
    """

    def __init__(self, counter: Counter, target: Target):
        self.counter = counter
        self.target = target
        self.first_low: int | None = None
        self.best: float | None = None
        self.ends = 0
        self.lower: list[float] = []

    def relax(self, atoms: Atoms) -> Relaxed | None:
        """Relax a structure as the baselines of nucleate do (L-BFGS, 0.02 eV/Å, 0.1 GPa); None if it fails or does not converge."""
        try:
            (end,) = relax([atoms], CountedPotential(self.counter), CONVERGED)
        except ReferenceFailed:
            return None
        return end if end.stop == "converged" else None

    def confirm(self, atoms: Atoms, energy: float) -> tuple[Atoms, float]:
        """Compare a converged end point with the target, also in its symmetrised form; return the one to keep and its energy, eV/atom.

        Raises:
            Ended: the structure is the target.
        """
        self.ends += 1
        self._compare(atoms, energy)
        exact = symmetrised(atoms, NEARLY_SYMMETRIC)
        if exact is not None:
            end = self.relax(exact[0])
            if end is not None and end.energy_per_atom < energy + ALMOST_EQUAL:
                atoms, energy = end.atoms, end.energy_per_atom
                self._compare(atoms, energy)
        return atoms, energy

    def relax_and_confirm(self, atoms: Atoms) -> tuple[Atoms, float] | None:
        """Relax a structure and confirm the end point; None if the relaxation does not converge."""
        end = self.relax(atoms)
        return None if end is None else self.confirm(end.atoms, end.energy_per_atom)

    def _compare(self, atoms: Atoms, energy: float) -> None:
        self.best = energy if self.best is None else min(energy, self.best)
        if self.target.low(energy):
            self.first_low = self.counter.calls if self.first_low is None else self.first_low
        if energy < self.target.lowest - HIT_ENERGY:
            self.lower.append(energy)
        if self.target.hit(atoms, energy):
            raise Ended("hit")


class AseRelaxation:
    """Relaxation of a structure by ASE's BFGS in the cell filter of Fréchet, with the space group kept, as in the tutorials of CrySPY.

    The thresholds and the rules by which a relaxation is given up are those of `Trial.relax`. The relaxation can be continued.
    """

    def __init__(self, counter: Counter, atoms: Atoms):
        from ase.constraints import FixSymmetry
        from ase.filters import FrechetCellFilter
        from ase.optimize import BFGS

        self.atoms = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=True)
        self.atoms.set_constraint([FixSymmetry(self.atoms)])
        self.atoms.calc = CountingCalculator(counter)
        self.optimiser = BFGS(FrechetCellFilter(self.atoms), logfile=None)
        self.volume = self.atoms.get_volume()
        self.steps = self.idle = 0
        self.lowest = np.inf
        self.forces: list[np.ndarray] = []
        self.stresses: list[np.ndarray] = []

    @property
    def plain(self) -> Atoms:
        """The geometry without constraint and calculator."""
        return Atoms(numbers=self.atoms.numbers, positions=self.atoms.positions, cell=self.atoms.cell.array, pbc=True)

    def run(self, steps: int) -> str:
        """Take steps; return `converged`, `failed` or `unfinished`. After a failure the structure cannot be used.

        `forces` and `stresses` are those of the geometries of this call.
        """
        self.forces, self.stresses = [], []
        try:
            for _ in range(steps):
                energy = self.atoms.get_potential_energy() / len(self.atoms)
                forces, stress = self.atoms.get_forces(), self.atoms.get_stress(voigt=False)
                self.forces.append(forces)
                self.stresses.append(stress)
                self.energy = energy
                largest = float(np.linalg.norm(forces, axis=1).max())
                if largest <= CONVERGED.fmax and np.abs(stress).max() <= CONVERGED.smax * GPA:
                    return "converged"
                self.idle = 0 if energy < self.lowest - CONVERGED.progress else self.idle + 1
                self.lowest = min(self.lowest, energy)
                self.steps += 1
                low, high = CONVERGED.volume_range
                if not low <= self.atoms.get_volume() / self.volume <= high or largest > MOST_FORCE:
                    return "failed"
                if self.idle >= CONVERGED.patience or self.steps >= CONVERGED.max_steps:
                    return "failed"
                self.optimiser.step()
        except (ReferenceFailed, np.linalg.LinAlgError, RuntimeError, ValueError):
            return "failed"
        return "unfinished"
