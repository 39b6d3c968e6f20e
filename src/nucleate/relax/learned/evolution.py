"""Gradient of the return by evolution strategies.

The return of a policy with weights w + s e, e normal, has the gradient E[R e] / s with respect to w (T. Salimans et al., arXiv:1703.03864).
Perturbations come in opposite pairs, returns are replaced by their ranks, and all policies relax the same cells in one batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.relax.learned.optimiser import CURVATURE, LearnedMoves
from nucleate.relax.learned.policy import Policy
from nucleate.relax.learned.rollout import MOST_ENERGY, repeated, returns
from nucleate.relax.learned.settings import MoveSettings
from nucleate.relax.optimisers import Lbfgs
from nucleate.relax.state import Surface


def evolution_gradient(
    flat: Tensor, batch: CrystalBatch, surface: Surface, settings: MoveSettings, generator: torch.Generator
) -> tuple[Tensor, float, float]:
    """Estimate the gradient of the mean return.

    Args:
        flat: (1, n) weights.
        batch: the cells.
        surface: energy surface with a neighbour list of its own.
        settings: see `MoveSettings`.
        generator: random numbers of the perturbations.

    Returns:
        (1, n) gradient of the rank-shaped return; mean return of the policy itself, and that of L-BFGS on the same cells.
    """
    noise = torch.randn(settings.pairs, flat.shape[1], generator=generator, dtype=flat.dtype)
    noise = torch.cat([noise, -noise])
    # L-BFGS is a policy with zero weights for the last layer; it and the policy itself are the first two of the batch.
    policies = torch.cat([torch.zeros_like(flat), flat, flat + settings.spread * noise])
    count = len(policies)
    policy = Policy.from_flat(settings.policy, policies)
    values, energies = returns(LearnedMoves(policy, settings.maxstep), repeated(batch, count), surface, settings)
    values, energies = values.view(count, -1), energies.view(count, -1)
    if settings.policy.memory == "momentum":
        # Zero weights are steepest descent there.
        values[0], energies[0] = returns(Lbfgs(maxstep=settings.maxstep, curvature=CURVATURE), batch, surface, settings)
    above = torch.nan_to_num(energies - energies[0], nan=MOST_ENERGY).clamp(-MOST_ENERGY, MOST_ENERGY)
    scores = (values - settings.energy_weight * above)[2:].mean(1)
    shaped = centred_ranks(scores)
    gradient = (shaped.unsqueeze(1) * noise).mean(0, keepdim=True) / settings.spread
    return gradient, float(values[1].mean()), float(values[0].mean())


def centred_ranks(scores: Tensor) -> Tensor:
    """Return the ranks of scores, scaled to -0.5 to 0.5; equal scores share the mean of their ranks."""
    below = (scores.unsqueeze(0) < scores.unsqueeze(1)).sum(1).to(scores.dtype)
    equal = (scores.unsqueeze(0) == scores.unsqueeze(1)).sum(1).to(scores.dtype)
    return (below + 0.5 * (equal - 1)) / max(len(scores) - 1, 1) - 0.5
