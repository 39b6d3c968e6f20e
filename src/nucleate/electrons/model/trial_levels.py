"""Trial Fermi levels, with which one pass over a large grid gives the density of states and the density.

The occupation of the states at a point depends smoothly on the Fermi level mu, which is known only after the density of states has been
summed over the whole grid. A few per cent of the points give mu with an error of some meV. The pass over all points then accumulates the
density at trial levels around this estimate, and a polynomial through them gives the density at the final mu. With forces, the derivative
of the density in mu is accumulated and interpolated in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

ERRORS = 3.0
"""Half width of the range of trial levels in standard errors of the estimate."""
SMALLEST = 0.1
"""Smallest half width of this range, kT."""
WIDEST = {3: 0.3, 4: 0.6, 5: 1.0, 6: 1.4, 8: 2.0}
"""Number of trial levels and the largest half width (kT) for which the density is interpolated to less than 1e-5 electrons per atom."""


@dataclass(frozen=True)
class TrialLevels:
    """Trial Fermi levels.

    Attributes:
        levels: (n,) energies, eV.
    """

    levels: np.ndarray

    def holds(self, mu: Tensor) -> bool:
        """Return whether a Fermi level (eV) is within the range of the trial levels."""
        return float(self.levels.min()) <= float(mu) <= float(self.levels.max())

    def weights(self, mu: Tensor) -> np.ndarray:
        """Return the (n,) weights of the values at the trial levels in the value at mu (eV), interpolated by a polynomial."""
        x, n = float(mu), len(self.levels)
        value = np.empty(n)
        for k in range(n):
            others = np.delete(self.levels, k)
            value[k] = np.prod((x - others) / (self.levels[k] - others))
        return value


def trial_levels(estimates: np.ndarray, kt: float, more: int = 0) -> TrialLevels | None:
    """Return the trial levels around independent estimates of the Fermi level, or None if they would be too far apart.

    Args:
        estimates: (n,) estimates from equal parts of the sampled points, eV.
        kt: Electronic temperature in eV.
        more: Number of levels beyond those needed for the density; its derivative in mu needs two more.
    """
    centre, error = float(np.mean(estimates)), float(np.std(estimates, ddof=1) / len(estimates) ** 0.5)
    half = max(ERRORS * error, SMALLEST * kt)
    number = next((n for n, widest in WIDEST.items() if half <= widest * kt), None)
    if number is None:
        return None
    # Chebyshev's points, stretched so that the outermost ones are the ends of the range.
    number += more
    points = np.cos(np.pi * (np.arange(number) + 0.5) / number)
    return TrialLevels(centre + half * points / points[0])
