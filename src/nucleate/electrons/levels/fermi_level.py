"""The Fermi level: the chemical potential at which the states hold the electrons, sum_i w_i(mu) D_i = N.

Its derivative comes from the implicit function theorem: d mu = -sum_i w_i dD_i / sum_i (dw_i/dmu) D_i.
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
    """Chemical potential, eV; carries the gradient of `dos`.

    Args:
        energies: (n_energies,), eV.
        dos: (n_energies,), 1/eV.
        electrons: how many there are.
        weigh: weights of the energies at a chemical potential.
        near: take the root nearest to this, eV: corrected weights have several where there is a gap.

    Raises:
        BadInput: the window of energies holds too few states, or more below it than there are electrons.
    """
    fixed = dos.detach()
    if not bool(torch.isfinite(fixed).all()):
        raise BadInput("the density of states is not finite: did the training diverge?")

    def excess(mu: float) -> float:
        return float(weigh(torch.tensor(mu, dtype=torch.float64)).number @ fixed) - electrons

    low, high = float(energies[0]), float(energies[-1])
    if excess(high) < 0:
        missing = -excess(high)
        raise BadInput(
            f"the window of energies, {low:g} to {high:g} eV, holds {electrons - missing:.3f} of {electrons:g} electrons;"
            f" {missing:.3g} are missing: widen it, or there are occupied states outside"
        )
    if excess(low) > 0:
        raise BadInput(f"the density of states holds {electrons:g} electrons below {low:g} eV: no Fermi level in its window")
    if near is not None:
        low, high = _bracket(excess, near, low, high)
    mu = low if low == high else brentq(excess, low, high, xtol=1e-13, rtol=1e-15)
    level = torch.tensor(mu, dtype=torch.float64)
    if not dos.requires_grad:
        return level
    weights = weigh(level)
    slope = weights.slope @ fixed
    # A Newton step from the root: zero long, with the derivative of the implicit function theorem.
    return level - (weights.number @ dos - (weights.number @ fixed)) / slope


def _bracket(excess: Callable[[float], float], near: float, low: float, high: float) -> tuple[float, float]:
    """The narrowest bracket of a root around `near`, by doubling; the root itself twice if it is there."""
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
