"""Evolution of a population of relaxed Lennard-Jones clusters.

A run begins with random clusters without symmetry. In each generation, parents are drawn from the population with weights that fall with
their rank in energy, and operators with fixed weights; the children are relaxed, and those of a new energy below the highest of the
population enter it. A population whose lowest energy has not improved for a number of relaxations is given up, and a new one begins.
Generations of several runs are relaxed in one batch, which does not change any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from lennard_jones import GENERATE, quench

from nucleate.crystals.clusters import in_cube
from nucleate.generate.clusters import ClusterGenerator
from nucleate.generate.evolution.base import Operator
from nucleate.generate.evolution.registry import make_cluster_operators
from nucleate.generate.tries import NotPlaced

SAME = 1e-3
"""Difference of energies below which two clusters are the same, well depths."""
SELECTION = 3.0
"""Decrease of the logarithm of the weight from the first to the last parent."""


@dataclass(frozen=True)
class Scheme:
    """Numbers of an evolution.

    Attributes:
        population: largest number of clusters in a population.
        first: number of random clusters with which it begins.
        children: number of children of a generation.
        patience: number of relaxations without a lower energy after which a new population begins.
        shares: weight of each operator by name.
    """

    population: int
    first: int
    children: int
    patience: int
    shares: dict[str, float]


@dataclass
class Evolution:
    """One run.

    Attributes:
        scheme: numbers of the evolution.
        generator: generator of random clusters without symmetry.
        operators: operators by name.
        rng: random number generator.
        quenches, calls: relaxations and potential calls so far.
        hit: origin of the known minimum; None: it has not been found.
        energy: its energy, well depths.
        positions: (n, 3) positions of it, Å.
        populations: number of populations so far.
    """

    scheme: Scheme
    generator: ClusterGenerator
    operators: dict[str, Operator]
    rng: np.random.Generator
    quenches: int = 0
    calls: int = 0
    hit: str | None = None
    energy: float = np.inf
    positions: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    populations: int = 1
    _members: list[tuple[float, Atoms]] = field(default_factory=list)
    _stale: int = 0

    def propose(self) -> list[tuple[str, Atoms]]:
        """Return the origins and structures of the next generation."""
        if self._members and self._stale >= self.scheme.patience:
            self._members, self._stale, self.populations = [], 0, self.populations + 1
        if not self._members:
            return [("random", candidate.atoms) for candidate in self.generator.propose(self.scheme.first, self.rng)]
        names = [name for name in self.operators if self.scheme.shares[name] > 0.0]
        shares = np.array([self.scheme.shares[name] for name in names])
        weights = np.exp(-SELECTION * np.arange(len(self._members)) / max(len(self._members) - 1, 1))
        made: list[tuple[str, Atoms]] = []
        while len(made) < self.scheme.children:
            operator = self.operators[names[int(self.rng.choice(len(names), p=shares / shares.sum()))]]
            if len(self._members) < operator.parents:
                return [("random", candidate.atoms) for candidate in self.generator.propose(self.scheme.first, self.rng)]
            chosen = self.rng.choice(len(self._members), size=operator.parents, replace=False, p=weights / weights.sum())
            try:
                made.append((operator.name, operator([self._members[k][1] for k in chosen], self.rng)))
            except NotPlaced:
                continue
        return made

    def enter(self, made: list[tuple[str, Atoms]], energies: np.ndarray, calls: np.ndarray, positions: np.ndarray, aim: float) -> None:
        """Enter relaxed clusters one after another, until one is below the energy `aim`."""
        for (origin, start), energy, count, place in zip(made, energies, calls, positions, strict=True):
            self.quenches, self.calls = self.quenches + 1, self.calls + int(count)
            if energy < aim:
                self.hit, self.energy, self.positions = origin, float(energy), place
                return
            self._stale += 1
            if not np.isfinite(energy) or any(abs(energy - other) < SAME for other, _ in self._members):
                continue
            if not self._members or energy < self._members[0][0] - SAME:
                self._stale = 0
            self._members.append((float(energy), in_cube(Atoms(start.numbers, place), float(start.cell[0, 0]))))
            self._members.sort(key=lambda member: member[0])
            del self._members[self.scheme.population :]


def asymmetric_generator(n: int) -> ClusterGenerator:
    """Return a generator of random clusters of n atoms without symmetry."""
    generator = ClusterGenerator({"Ar": n}, None, 12.0, GENERATE)
    generator.builder = replace(generator.builder, fillings=[f for f in generator.builder.fillings if f.group.symbol == "C1"])
    return generator


def evolve(n: int, seeds: list[int], aim: float, most: int, scheme: Scheme) -> Iterator[tuple[int, Evolution]]:
    """Yield the seed and the end of each run, in the order in which they end.

    Args:
        n: number of atoms.
        seeds: seeds of the runs.
        aim: energy below which a cluster is the known minimum, well depths.
        most: number of relaxations after which a run is given up.
        scheme: numbers of the evolution.
    """
    generator = asymmetric_generator(n)
    operators = make_cluster_operators(generator.builder.packing, generator.diameter)
    runs = {seed: Evolution(scheme, generator, operators, np.random.default_rng([n, seed])) for seed in seeds}
    while runs:
        made = {seed: run.propose() for seed, run in runs.items()}
        found = quench([atoms for each in made.values() for _, atoms in each])
        first = 0
        for seed, each in made.items():
            own = slice(first, first + len(each))
            first += len(each)
            runs[seed].enter(each, found.energies[own], found.calls[own], found.positions[own], aim)
            if runs[seed].hit is not None or runs[seed].quenches >= most:
                yield seed, runs.pop(seed)
