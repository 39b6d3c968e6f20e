"""Smooth background of a measured curve, by asymmetrically reweighted penalised least squares."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded
from scipy.special import expit


def background(values: np.ndarray, points: float, rounds: int = 50, tolerance: float = 1e-3) -> np.ndarray:
    """Return the smooth curve below the peaks of a measurement.

    The background z minimises sum w (y - z)² + lambda sum (second difference of z)²; points far above it lose their weight by a logistic
    function of the mean and spread of the points below it: S.-J. Baek, A. Park, Y.-J. Ahn and J. Choo, Analyst 140, 250 (2015),
    doi 10.1039/C4AN01061B.

    Args:
        values: (n,) measurement on a uniform grid.
        points: number of grid points over which the background may bend; a multiple of the width of the peaks.
        rounds: largest number of iterations.
        tolerance: relative change of the weights at which the iteration ends.

    Returns:
        (n,) the background.
    """
    n = len(values)
    if n < 4:
        return np.full(n, values.min(initial=0.0))
    # A sine of period p has a second difference (2 pi / p)², so that lambda = (p / 2 pi)^4 halves it.
    penalty = max(points / (2 * np.pi), 1.0) ** 4
    banded = np.zeros((3, n))
    banded[0] = 6.0
    banded[0, [0, -1]], banded[0, [1, -2]] = 1.0, 5.0
    banded[1, : n - 1] = -4.0
    banded[1, [0, n - 2]] = -2.0
    banded[2, : n - 2] = 1.0
    banded *= penalty
    weights = np.ones(n)
    smooth = values
    for _ in range(rounds):
        matrix = banded.copy()
        matrix[0] += weights + 1e-9
        smooth = solveh_banded(matrix, (weights + 1e-9) * values, lower=True)
        residual = values - smooth
        below = residual[residual < 0]
        if len(below) < 2 or below.std() == 0:
            break
        # The logistic function is cut off where it is 0 or 1 in double precision.
        new = expit(-2 * np.clip((residual - (2 * below.std() - below.mean())) / below.std(), -300, 300))
        change = np.linalg.norm(new - weights) / np.linalg.norm(weights)
        weights = new
        if change < tolerance:
            break
    return smooth
