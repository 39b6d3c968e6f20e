"""Densities of a moving crystal, extrapolated from its last converged ones.

What is extrapolated is the difference to superposed atoms, which move exactly. Its coefficients are those with which the cells and
positions of the past combine to the new ones, by least squares. T. A. Arias, M. C. Payne and J. D. Joannopoulos, Phys. Rev. B 45, 1538
(1992), doi 10.1103/PhysRevB.45.1538, fit two coefficients; here there is one for each kept structure, so that steps of equal length give
extrapolations of higher order, and a relaxation uses what it has seen of a direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

KEPT = 4
"""Structures that are kept. With more, the extrapolation amplifies what is left of the errors of convergence."""
RIDGE = 1e-5
"""Ridge parameter of the coefficients, relative to the mean square of the past steps."""
MOST_ERROR = 1e-3
"""Largest expected error of a density, as a share of the electrons, with which a calculation is started; above it, the density of the moved
wave functions is taken. This and the two constants above were chosen on Al8 and Si8 (`benchmarks/reference/continuation`)."""
SHORTEST = 1e-6
"""Length of a step in Å below which two structures are the same and tell nothing of the change of the density."""
FARTHEST = 0.5
"""Largest distance of an atom or a lattice vector from the last structure in Å at which it is still the same crystal."""


@dataclass(frozen=True)
class Deformation:
    """A converged density relative to superposed atoms.

    Attributes:
        cell: (3, 3) lattice vectors in rows, Å.
        scaled: (n_atoms, 3) scaled positions.
        difference: (spins, n_1, n_2, n_3) difference of the densities times the volume, electrons.
        matrices: atomic density matrices of PAW, in one array.
        electrons: number of valence electrons.
    """

    cell: np.ndarray
    scaled: np.ndarray
    difference: np.ndarray
    matrices: np.ndarray
    electrons: float


class History:
    """The last converged densities of one crystal.

    Args:
        kept: structures that are kept.
    """

    def __init__(self, kept: int = KEPT):
        self._kept = kept
        self._past: list[Deformation] = []

    def add(self, state: Deformation) -> None:
        """Add a converged density; older ones are transferred to its grid."""
        past = [replace(one, difference=resampled(one.difference, state.difference.shape)) for one in self._past]
        self._past = [*past[max(0, len(past) - self._kept + 1) :], state]

    def bytes(self) -> int:
        """Return the memory of the densities."""
        return sum(one.difference.nbytes + one.matrices.nbytes for one in self._past)

    def distance(self, cell: np.ndarray, scaled: np.ndarray) -> float:
        """Return the largest distance of an atom or a lattice vector from the last structure in Å; infinity if there is none."""
        if not self._past:
            return np.inf
        return float(np.linalg.norm(self._steps(cell, scaled)[0].reshape(-1, 3), axis=1).max())

    def extrapolated(self, cell: np.ndarray, scaled: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the difference to superposed atoms and the atomic density matrices expected for a structure.

        Args:
            cell: (3, 3) lattice vectors in rows, Å.
            scaled: (n_atoms, 3) scaled positions, in any unit cell.
            shape: (spins, n_1, n_2, n_3) of the density.

        Returns:
            Difference times the volume, and matrices; None if the expected error exceeds `MOST_ERROR`, or if there are fewer than two
            structures or the last two are the same.
        """
        if len(self._past) < 2 or self._past[-1].difference.shape[0] != shape[0]:
            return None
        new, past = self._steps(cell, scaled)
        squares = past @ past.T
        ridge = RIDGE * max(float(np.trace(squares)) / len(squares), 1e-12)
        weights = np.linalg.solve(squares + ridge * np.eye(len(squares)), past @ new)
        left = float(np.linalg.norm(new - weights @ past))
        last = self._past[-1]
        lengths = np.linalg.norm(past, axis=1)
        if lengths[-1] < SHORTEST:
            return None
        # How much density a step moves, from the last two structures.
        moved = np.abs(last.difference - self._past[-2].difference).mean() * shape[0] / last.electrons / lengths[-1]
        if left * moved > MOST_ERROR:
            return None
        coefficients = np.append(weights, 1.0 - weights.sum())
        difference = sum(c * one.difference for c, one in zip(coefficients, self._past, strict=True))
        matrices = sum(c * one.matrices for c, one in zip(coefficients, self._past, strict=True))
        return resampled(np.asarray(difference), shape), np.asarray(matrices)

    def _steps(self, cell: np.ndarray, scaled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the structure and the (kept - 1) older ones as steps from the last one, Å."""
        last = self._past[-1]

        def step(other_cell: np.ndarray, other: np.ndarray) -> np.ndarray:
            moved = other - last.scaled
            return np.concatenate([(other_cell - last.cell).ravel(), ((moved - np.rint(moved)) @ last.cell).ravel()])

        return step(cell, scaled), np.array([step(one.cell, one.scaled) for one in self._past[:-1]])


def resampled(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return periodic functions (spins, n_1, n_2, n_3) on a grid of another shape, with the waves that both grids have."""
    if values.shape == shape:
        return values
    waves = np.fft.fftn(values, axes=(1, 2, 3), norm="forward")
    for axis, (old, new) in enumerate(zip(values.shape[1:], shape[1:], strict=True), start=1):
        # The wave at the limit of an even grid has no partner on a finer one.
        most = (min(old, new) - 1) // 2
        kept = np.r_[0 : most + 1, -most:0]
        cut = np.zeros((*waves.shape[:axis], new, *waves.shape[axis + 1 :]), dtype=complex)
        place = (slice(None),) * axis
        cut[(*place, kept)] = waves[(*place, kept)]
        waves = cut
    return np.fft.ifftn(waves, axes=(1, 2, 3), norm="forward").real
