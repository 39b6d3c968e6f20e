"""Lower convex hull of energies over composition: the ground states of a cluster expansion or of calculated energies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from nucleate.errors import BadInput

ON_HULL = 1e-7
"""Energy below which an arrangement belongs to the hull, eV per primitive cell."""


@dataclass(frozen=True)
class Hull:
    """Hull of arrangements on one parent.

    Attributes:
        fractions: (n, species) shares of the active sites.
        mixing: (n,) energies relative to the pure sublattices, eV per primitive cell.
        above: (n,) energies above the hull, eV per primitive cell.
        ends: Index of the arrangement that is filled with each species.
    """

    fractions: np.ndarray
    mixing: np.ndarray
    above: np.ndarray
    ends: list[int]

    @property
    def ground_states(self) -> np.ndarray:
        """Indices of the arrangements on the hull."""
        result: np.ndarray = np.flatnonzero(self.above <= ON_HULL)
        return result


def lower_hull(fractions: np.ndarray, energies: np.ndarray) -> Hull:
    """Return mixing energies and energies above the hull.

    Args:
        fractions: (n, species) shares of the active sites that hold each species.
        energies: (n,) energies, eV per primitive cell.

    Raises:
        BadInput: An arrangement filled with one species is missing, so that mixing energies are not defined.
    """
    ends = []
    for k in range(fractions.shape[1]):
        pure = np.flatnonzero(fractions[:, k] > 1 - 1e-9)
        if not pure.size:
            raise BadInput("hull: an arrangement in which all sites hold the same species is missing; add cells of one primitive cell")
        ends.append(int(pure[np.argmin(energies[pure])]))
    mixing = energies - fractions @ energies[ends]
    if fractions.shape[1] == 2:
        above = mixing - _line(fractions[:, 0], mixing)
    else:
        above = np.array([mixing[k] - _lowest(fractions, mixing, fractions[k]) for k in range(len(mixing))])
    return Hull(fractions, mixing, np.maximum(above, 0.0), ends)


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the (n,) heights of the lower hull of the points (x, y) at each x."""
    corners: list[tuple[float, float]] = []
    for a, b in sorted(zip(x.tolist(), y.tolist(), strict=True)):
        if corners and abs(corners[-1][0] - a) < 1e-12:
            continue
        while len(corners) > 1:
            (x1, y1), (x2, y2) = corners[-2:]
            if (x2 - x1) * (b - y1) - (y2 - y1) * (a - x1) > 0:
                break
            corners.pop()
        corners.append((a, b))
    result: np.ndarray = np.interp(x, [c[0] for c in corners], [c[1] for c in corners])
    return result


def _lowest(fractions: np.ndarray, energies: np.ndarray, target: np.ndarray) -> float:
    """Return the lowest energy of a mixture of arrangements with the given composition."""
    answer = linprog(energies, A_eq=fractions.T, b_eq=target, bounds=(0, None), method="highs")
    return float(answer.fun)
