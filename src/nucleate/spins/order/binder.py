"""Transition temperature from the crossing of the Binder cumulants of two sizes.

K. Binder, Z. Phys. B 43, 119 (1981), doi 10.1007/BF01293604.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nucleate.errors import NucleateError

if TYPE_CHECKING:
    from nucleate.spins.simulate.simulation import Row

DRAWS = 500
ORDERED = 0.66
"""Cumulant above which a lattice is treated as deeply ordered (the limit is 2/3)."""
FAR = 0.05
"""Cumulant difference above which a temperature is too far from the crossing for a parabola."""


@dataclass(frozen=True)
class Crossing:
    """Crossing of the cumulants of two sizes.

    Attributes:
        small, large: Sizes in cells.
        temperature, error: Crossing temperature and its error in K.
        cumulant: Cumulant at the crossing.
    """

    small: int
    large: int
    temperature: float
    error: float
    cumulant: float


def crossing(rows: Sequence[Row], small: int, large: int, degree: int = 2, seed: int = 0) -> Crossing:
    """Fit the cumulant difference of two sizes by a polynomial in temperature and return its root.

    Temperatures far from the transition are excluded: all but the last of those deep in the ordered phase, where differences and errors
    are nearly zero, and those above the transition once the difference is large. The error is the spread over fits to differences
    resampled within their errors.

    Raises:
        NucleateError: There are fewer than three common temperatures, or the cumulants do not cross between them.
    """
    of = {size: {row.temperature: row for row in rows if row.size == size} for size in (small, large)}
    common = sorted(set(of[small]) & set(of[large]))
    if len(common) < 3:
        raise NucleateError(f"sizes {small} and {large} have {len(common)} temperatures in common; a crossing requires at least three")
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
        # Below the transition the cumulant of the larger size is the larger one.
        where = "higher" if difference.mean() > 0 else "lower"
        raise NucleateError(
            f"the cumulants of sizes {small} and {large} do not cross between {lowest:g} and {highest:g} K; add {where} temperatures"
        )
    if np.isfinite(roots).mean() < 0.9:
        raise NucleateError(
            f"sizes {small} and {large}: errors are too large to locate the crossing; use more measurements or closer temperatures"
        )
    cumulant = np.interp(roots[0], x, [of[large][k].binder for k in common])
    return Crossing(small, large, float(t.mean() + scale * roots[0]), float(scale * np.nanstd(roots[1:])), float(cumulant))


def _root(fit: np.ndarray) -> float:
    """Return the root with negative slope in [-1, 1]: the larger size has the smaller cumulant above the transition."""
    polynomial = np.polynomial.Polynomial(fit)
    found = polynomial.roots()
    real = found[np.abs(found.imag) < 1e-9].real
    real = real[(np.abs(real) <= 1) & (polynomial.deriv()(real) < 0)]
    return float(real[np.abs(real).argmin()]) if len(real) else float("nan")
