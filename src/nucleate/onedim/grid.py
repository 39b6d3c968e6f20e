"""Uniform grid in one dimension: kinetic energy, soft-Coulomb interaction and integrals, in Hartree atomic units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nucleate.errors import BadInput

STENCIL = np.array([-205 / 72, 8 / 5, -1 / 5, 8 / 315, -1 / 560])
"""Second derivative from values at 0 and at 1 to 4 steps on both sides, of eighth order (B. Fornberg, Math. Comp. 51, 699 (1988))."""
FEWEST, MOST = 16, 2000
"""Smallest and largest number of points of a grid; matrices are dense."""
SOFTENING = 1.0
"""Default length a of the interaction 1 / sqrt(x^2 + a^2), in bohr."""


@dataclass(frozen=True)
class Grid:
    """Uniform grid with walls: wave functions vanish outside.

    Attributes:
        x: (n,) positions in bohr, ascending, with equal spacing.
        softening: Length a of the interaction between electrons, in bohr.
    """

    x: np.ndarray
    softening: float = SOFTENING

    @classmethod
    def box(cls, half_length: float, points: int, softening: float = SOFTENING) -> Grid:
        """Return a grid from -`half_length` to +`half_length` bohr.

        Raises:
            BadInput: A length is not positive and finite, or the number of points is outside 16 to 2000.
        """
        if not (np.isfinite(half_length) and half_length > 0 and np.isfinite(softening) and softening > 0):
            raise BadInput(f"grid: half length {half_length:g} and softening {softening:g} bohr: give positive lengths")
        if not FEWEST <= points <= MOST:
            raise BadInput(f"grid: {points} points: give {FEWEST} to {MOST}")
        return cls(np.linspace(-half_length, half_length, points), softening)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def spacing(self) -> float:
        """Distance of neighbouring points in bohr."""
        return float(self.x[-1] - self.x[0]) / (len(self.x) - 1)

    @cached_property
    def bands(self) -> np.ndarray:
        """(5,) elements of the kinetic energy -1/2 d^2/dx^2 in hartree on its diagonal and on the four diagonals beside it."""
        return -0.5 * STENCIL / self.spacing**2

    @cached_property
    def kinetic(self) -> np.ndarray:
        """(n, n) matrix of the kinetic energy in hartree."""
        matrix = np.zeros((len(self), len(self)))
        for k, value in enumerate(self.bands):
            rows = np.arange(len(self) - k)
            matrix[rows, rows + k] = matrix[rows + k, rows] = value
        return matrix

    @cached_property
    def interaction(self) -> np.ndarray:
        """(n, n) repulsion 1 / sqrt((x - x')^2 + a^2) of two electrons in hartree."""
        return 1 / np.sqrt((self.x[:, None] - self.x) ** 2 + self.softening**2)

    def integral(self, values: np.ndarray) -> np.ndarray:
        """Return the integral of `values` (..., n) over the last axis."""
        return self.spacing * values.sum(axis=-1)

    def hartree(self, density: np.ndarray) -> np.ndarray:
        """Return the Hartree potential (..., n) in hartree of a density (..., n) in 1/bohr."""
        return self.spacing * density @ self.interaction

    def kinetic_of(self, wave: np.ndarray) -> np.ndarray:
        """Return -1/2 of the second derivative along the last axis of `wave` (..., n); the cost is linear in n."""
        result = self.bands[0] * wave
        for k, value in enumerate(self.bands[1:], 1):
            result[..., k:] += value * wave[..., :-k]
            result[..., :-k] += value * wave[..., k:]
        return result
