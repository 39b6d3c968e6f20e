"""Displacement along the softest modes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.generate.distances import image_shifts, squared_distances
from nucleate.generate.evolution.attempts import first_placed
from nucleate.generate.evolution.finishing import finished
from nucleate.generate.evolution.sites import sites_of
from nucleate.generate.packing import Packing
from nucleate.generate.tries import NotPlaced

AMPLITUDE = (0.5, 1.5)
"""Range of the largest displacement of an atom, in units of half the typical nearest distance."""
COMBINED = 0.25
"""Probability that two modes are combined."""
DECAY = 0.7
"""Probability of a mode relative to that of the next lower one."""


@dataclass(frozen=True, eq=False)
class SoftModes:
    """Displacement of the atoms of one parent along one of its softest modes.

    The mode is drawn with a probability that decreases from the lowest to the highest; in a quarter of the cases two modes are combined
    with a random angle. The displacement has a random sign, and that of the atom that moves most is between 0.5 and 1.5 times half the
    median nearest distance. The cell is that of the parent.

    Mutation along soft modes: A. O. Lyakhov, A. R. Oganov and M. Valle, Comput. Phys. Commun. 181, 1623 (2010),
    doi:10.1016/j.cpc.2010.06.007.

    Attributes:
        packing: species, numbers of atoms and smallest distances of the search.
        modes: returns the (k, N, 3) displacement patterns of the softest modes of a structure in the order of its atoms, of unit norm, the
            lowest first and without translations.
    """

    packing: Packing
    modes: Callable[[Atoms], np.ndarray]

    name = "soft-mode"
    parents = 1

    def __call__(self, parents: Sequence[Atoms], rng: np.random.Generator) -> Atoms:
        """Return a child displaced along soft modes.

        Raises:
            NotPlaced: the parent has no modes, or atoms remain too close.
            ValueError: the modes do not have the shape (k, N, 3) for N atoms.
        """
        parent = parents[0]
        sites_of(self.packing, parent)  # a parent of other atoms is refused before its modes are calculated
        modes = np.asarray(self.modes(parent.copy()), dtype=float)
        if modes.ndim != 3 or modes.shape[1:] != (len(parent), 3):
            raise ValueError(f"modes of {len(parent)} atoms must have the shape (k, {len(parent)}, 3), not {modes.shape}")
        if not len(modes):
            raise NotPlaced("the parent has no soft modes")
        typical = typical_distance(parent)

        def attempt() -> Atoms:
            pattern = _drawn(modes, rng)
            largest = np.linalg.norm(pattern, axis=1).max()
            if not largest > 0.0:
                raise NotPlaced("the mode does not move any atom")
            moved = parent.copy()
            moved.positions += pattern * (rng.choice([-1.0, 1.0]) * rng.uniform(*AMPLITUDE) * 0.5 * typical / largest)
            return finished(self.packing, sites_of(self.packing, moved), parents)

        return first_placed(attempt)


def _drawn(modes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the (N, 3) pattern of one mode, or of a random combination of two."""
    weights = DECAY ** np.arange(len(modes))
    weights /= weights.sum()
    if len(modes) > 1 and rng.random() < COMBINED:
        one, other = rng.choice(len(modes), 2, replace=False, p=weights)
        angle = rng.uniform(0.0, np.pi)
        return np.cos(angle) * modes[one] + np.sin(angle) * modes[other]
    return modes[rng.choice(len(modes), p=weights)]


def typical_distance(atoms: Atoms) -> float:
    """Return the median distance of an atom from its nearest neighbour, Å."""
    cell, scaled = atoms.cell.array, atoms.get_scaled_positions()
    cutoff = 1.5 * (atoms.get_volume() / len(atoms)) ** (1 / 3)
    while True:
        squared = squared_distances(scaled, scaled, cell, image_shifts(cell, cutoff))
        own = np.arange(len(atoms))
        squared[own, own, 0] = np.inf
        nearest = np.sqrt(squared.min(axis=(1, 2)))
        if np.median(nearest) <= cutoff:
            return float(np.median(nearest))
        cutoff *= 1.5
