"""Fermi level: the chemical potential mu that solves sum_i w_i(mu) D_i = N.

Its derivative follows from the implicit function theorem: d mu = -sum_i w_i dD_i / sum_i (dw_i/dmu) D_i.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy.optimize import brentq
from torch import Tensor

from nucleate.electrons.levels.occupation import Occupation
from nucleate.errors import BadInput

CHARGE_TOLERANCE = 1e-8
"""Electrons."""


def fermi_level(
    energies: Tensor, dos: Tensor, electrons: float, weigh: Callable[[Tensor], Occupation], near: float | None = None
) -> Tensor:
    """Return the chemical potential in eV, differentiable in `dos`.

    Args:
        energies: (n_energies,) energies in eV.
        dos: (n_energies,) density of states in 1/eV.
        electrons: Number of electrons.
        weigh: Function that returns the occupation weights at a chemical potential.
        near: Select the root nearest to this energy in eV; smearing-corrected weights have several roots in a gap.

    Raises:
        BadInput: The energy window contains too few states, or too many states at its lower end.
    """
    fixed = dos.detach()
    if not bool(torch.isfinite(fixed).all()):
        raise BadInput("the density of states is not finite; check whether the training diverged")

    def excess(mu: float) -> float:
        return float(weigh(torch.tensor(mu, dtype=torch.float64)).number @ fixed) - electrons

    low, high = float(energies[0]), float(energies[-1])
    if excess(high) < 0:
        missing = -excess(high)
        raise BadInput(
            f"the energy window from {low:g} to {high:g} eV contains {electrons - missing:.3f} of {electrons:g} electrons;"
            f" {missing:.3g} are missing: widen the window to include all occupied states"
        )
    if excess(low) > 0:
        raise BadInput(
            f"the density of states contains {electrons:g} electrons below {low:g} eV, so the Fermi level is outside the energy window"
        )
    if near is not None:
        low, high = _bracket(excess, near, low, high)
    mu = low if low == high else brentq(excess, low, high, xtol=1e-13, rtol=1e-15)
    level = torch.tensor(mu, dtype=torch.float64)
    if not dos.requires_grad:
        return level
    weights = weigh(level)
    slope = weights.slope @ fixed
    # A Newton step at the root has zero length, but carries the derivative of the implicit function theorem.
    return level - (weights.number @ dos - (weights.number @ fixed)) / slope


def _bracket(excess: Callable[[float], float], near: float, low: float, high: float) -> tuple[float, float]:
    """Return the narrowest bracket of a root around `near`, found by doubling; both ends are equal if `near` is the root."""
    here = excess(near)
    if abs(here) < CHARGE_TOLERANCE / 10:
        return near, near
    width = 1e-3
    while True:
        other = max(low, near - width) if here > 0 else min(high, near + width)
        if excess(other) * here <= 0:
            return min(near, other), max(near, other)
        if other in (low, high):
            return low, high
        width *= 2
