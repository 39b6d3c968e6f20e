"""The temperature at which Binder's cumulants of two sizes cross.

K. Binder, Z. Phys. B 43, 119 (1981), doi 10.1007/BF01293604.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nucleate.errors import NucleateError
from nucleate.spins.simulate.simulation import Row

DRAWS = 500
ORDERED = 0.66
"""Cumulants above are those of an ordered lattice, 2/3 but for fluctuations."""
FAR = 0.05
"""Between cumulants of two sizes: too far from the crossing for a parabola."""


@dataclass(frozen=True)
class Crossing:
    """Where the cumulants of two sizes meet.

    Attributes:
        small, large: sizes.
        temperature, error: K.
        cumulant: there.
    """

    small: int
    large: int
    temperature: float
    error: float
    cumulant: float


def crossing(rows: Sequence[Row], small: int, large: int, degree: int = 2, seed: int = 0) -> Crossing:
    """Fit the difference of two sizes' cumulants by a polynomial in the temperature and find its root.

    Temperatures far from the transition take no part: those deep in the order but the last, whose differences are all but zero with tiny
    errors, and those above from where the difference is large on. The error is the spread over fits to differences redrawn within their
    own errors.

    Raises:
        NucleateError: fewer than three common temperatures, or no crossing between them.
    """
    of = {size: {row.temperature: row for row in rows if row.size == size} for size in (small, large)}
    common = sorted(set(of[small]) & set(of[large]))
    if len(common) < 3:
        raise NucleateError(f"sizes {small} and {large} have {len(common)} temperatures in common; three are needed for a crossing")
    t = np.array(common)
    difference = np.array([of[large][x].binder - of[small][x].binder for x in common])
    error = np.maximum(np.hypot([of[large][x].binder_error for x in common], [of[small][x].binder_error for x in common]), 1e-12)
    above = np.flatnonzero(np.array([of[large][x].binder for x in common]) < ORDERED)
    begin = min(max(int(above[0]) - 1, 0), len(t) - 3) if len(above) else 0
    far = np.flatnonzero(np.abs(difference[begin:]) > FAR)
    near = slice(begin, begin + max(int(far[0]) if len(far) else len(t), 3))
    lowest, highest = t.min(), t.max()
    t, difference, error, common = t[near], difference[near], error[near], common[near]
    scale = (t.max() - t.min()) / 2
    x = (t - t.mean()) / scale
    degree = min(degree, len(t) - 1)
    rng = np.random.default_rng(seed)
    drawn = np.vstack([difference, difference + error * rng.standard_normal((DRAWS, len(t)))])
    fits = np.polynomial.polynomial.polyfit(x, drawn.T, degree, w=1 / error).T
    roots = np.array([_root(fit) for fit in fits])
    if not np.isfinite(roots[0]):
        raise NucleateError(f"the cumulants of sizes {small} and {large} do not cross between {lowest:g} and {highest:g} K")
    if np.isfinite(roots).mean() < 0.9:
        raise NucleateError(f"sizes {small} and {large}: the crossing is lost in the errors; measure longer or closer to it")
    cumulant = np.interp(roots[0], x, [of[large][k].binder for k in common])
    return Crossing(small, large, float(t.mean() + scale * roots[0]), float(scale * np.nanstd(roots[1:])), float(cumulant))


def _root(fit: np.ndarray) -> float:
    """Of a falling polynomial on [-1, 1]: the large size has the smaller cumulant above the transition."""
    polynomial = np.polynomial.Polynomial(fit)
    found = polynomial.roots()
    real = found[np.abs(found.imag) < 1e-9].real
    real = real[(np.abs(real) <= 1) & (polynomial.deriv()(real) < 0)]
    return float(real[np.abs(real).argmin()]) if len(real) else float("nan")
