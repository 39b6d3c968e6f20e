"""Contract of the operators of an evolution, and the distances that their children keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.generate.distances import image_shifts, squared_distances
from nucleate.generate.packing import Packing

CLOSER = 0.9
"""Smallest distance of a child relative to the smallest one that occurs in its parents, where that is below the estimate."""


class Operator(Protocol):
    """A way to make one child from one or two parents.

    Attributes:
        name: name of the operator, which becomes the origin of its children.
        parents: number of parents, 1 or 2.
    """

    name: str
    parents: int

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child with exactly the atoms of the search, sorted by species, whose distances respect `limits`.

        Children of crystals of molecules have their molecules one after another, and the contact distances of the generator instead.

        The same parents and the same state of `rng` give the same child. Parents are not changed.

        Args:
            parents: relaxed structures, periodic in three directions.
            rng: random number generator.

        Raises:
            NotPlaced: no child could be made of these parents; the message is the reason.
        """
        ...


def limits(packing: Packing, parents: Sequence[Atoms]) -> np.ndarray:
    """Return the (S, S) smallest distances of a child, Å.

    They are those of random candidates, or `CLOSER` times the smallest distance of the two species in a parent where that is shorter.
    """
    result = packing.min_distances.copy()
    numbers = np.array([atomic_numbers[symbol] for symbol in packing.symbols])
    for atoms in parents:
        shortest = closest(atoms, numbers, float(result.max()))
        result = np.minimum(result, CLOSER * shortest)
    return result


def closest(atoms: Atoms, numbers: np.ndarray, cutoff: float) -> np.ndarray:
    """Return the (S, S) smallest distances between the species `numbers`, Å; infinity above `cutoff`."""
    scaled, cell = atoms.get_scaled_positions(), atoms.cell.array
    squared = squared_distances(scaled, scaled, cell, image_shifts(cell, cutoff))
    own = np.arange(len(atoms))
    squared[own, own, 0] = np.inf
    nearest = squared.min(axis=2)
    nearest[nearest > cutoff**2] = np.inf
    result = np.full((len(numbers), len(numbers)), np.inf)
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            pairs = nearest[np.ix_(atoms.numbers == a, atoms.numbers == b)]
            result[i, j] = np.sqrt(pairs.min(initial=np.inf))
    return result
