"""Gradient of the return through unrolled relaxations (M. Andrychowicz et al., NeurIPS 2016, arXiv:1606.04474).

The loss is the mean logarithm of the largest force over the steps of a window. Its gradient passes through everything that a step depends
on: coefficients, states of the network, invariants, steps of L-BFGS and forces of earlier steps. The derivative of a force with respect to
the coordinates is the Hessian. Its product with a vector is computed by a central difference of forces, so that every potential can be
unrolled, whether or not it has second derivatives: the kernels of the committee have none. Each step costs three evaluations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.relax.learned.invariants import Agents
from nucleate.relax.learned.optimiser import LearnedMoves
from nucleate.relax.learned.policy import Policy
from nucleate.relax.learned.rollout import LOST
from nucleate.relax.learned.settings import MoveSettings
from nucleate.relax.state import State, Surface, evaluate, start

DIFFERENCE = 2e-3
"""Longest displacement of a row in the central difference, Å."""
SHARPNESS = 8
"""Power of the norm over agents that stands for their largest force."""


class _Forces(torch.autograd.Function):
    """Forces as a function of coordinates, with Hessian products by central differences."""

    @staticmethod
    def forward(ctx: Any, coordinates: Tensor, state: State, surface: Surface) -> Tensor:
        ctx.state, ctx.surface = state, surface
        ctx.save_for_backward(coordinates)
        return state.gradient_force

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (coordinates,) = ctx.saved_tensors
        state, vector = ctx.state, torch.nan_to_num(gradients[0])
        # Forces on cells are symmetric, so that only the symmetric part of a gradient with respect to them counts.
        n_atoms = len(state.batch.numbers)
        cells = vector[n_atoms:].view(-1, 3, 3)
        vector = torch.cat([vector[:n_atoms], (0.5 * (cells + cells.transpose(1, 2))).reshape(-1, 3)])
        length = (state.largest_row(vector) / DIFFERENCE).clamp_min(1e-30)[state.owner, None]
        ends = [
            evaluate(replace(state, coordinates=coordinates + sign * vector / length), ctx.surface, 0.0, variable_cell=True).gradient_force
            for sign in (1, -1)
        ]
        return torch.nan_to_num((ends[0] - ends[1]) / 2 * length), None, None


def differentiable(state: State, surface: Surface) -> State:
    """Return the state after an evaluation whose forces can be differentiated with respect to the coordinates."""
    coordinates = state.coordinates
    evaluated = evaluate(replace(state, coordinates=coordinates.detach()), surface, 0.0, variable_cell=True)
    forces: Tensor = _Forces.apply(coordinates, evaluated, surface)  # type: ignore[no-untyped-call]
    # The enthalpy keeps its value; its derivative is minus the force.
    enthalpy = evaluated.enthalpy - evaluated.dot(evaluated.gradient_force, coordinates - coordinates.detach())
    return replace(evaluated, coordinates=coordinates, gradient_force=forces, enthalpy=enthalpy)


def log_force(state: State, fmax: float) -> Tensor:
    """Return the (n,) logarithms of a smooth largest force above `fmax`."""
    agents = Agents.of(state)
    norms = agents.dot(state.gradient_force, state.gradient_force).clamp(1e-12, LOST**2)
    return (agents.total((norms / LOST**2) ** (SHARPNESS / 2)).clamp_min(1e-250) ** (1 / SHARPNESS) * LOST + fmax).log()


def unrolled_gradient(flat: Tensor, batch: CrystalBatch, surface: Surface, settings: MoveSettings) -> tuple[Tensor, float]:
    """Return the gradient of minus the mean logarithm of the force.

    Args:
        flat: (1, n) weights.
        batch: the cells.
        surface: energy surface with a neighbour list of its own.
        settings: see `MoveSettings`.

    Returns:
        (1, n) gradient, and the mean over steps and cells of minus the logarithm (base 10) of the largest force over `fmax`.
    """
    weights = flat.detach().clone().requires_grad_(True)
    optimiser = LearnedMoves(Policy.from_flat(settings.policy, weights), settings.maxstep)
    state = optimiser.init(start(batch, surface, 0.0, variable_cell=True))
    total, loss, gradient = 0.0, torch.zeros((), dtype=flat.dtype), torch.zeros_like(flat)
    for step in range(1, settings.steps + 1):
        state = differentiable(optimiser.move(state), surface)
        # Structures whose relaxation failed carry no gradient.
        value = log_force(state, settings.fmax)
        loss = loss + torch.where(torch.isfinite(value), value, torch.zeros_like(value)).mean() / settings.steps
        if step % settings.window == 0 or step == settings.steps:
            total += float(loss.detach())
            if loss.requires_grad:
                gradient -= torch.nan_to_num(torch.autograd.grad(loss, weights)[0])
            state, loss = _detached(state), torch.zeros((), dtype=flat.dtype)
            optimiser = LearnedMoves(Policy.from_flat(settings.policy, weights), settings.maxstep)
    return gradient, -(total - float(torch.tensor(settings.fmax, dtype=flat.dtype).log())) / float(torch.tensor(10.0).log())


def _detached(state: State) -> State:
    """Return the state without its graph."""
    return replace(
        state,
        coordinates=state.coordinates.detach(),
        gradient_force=state.gradient_force.detach(),
        enthalpy=state.enthalpy.detach(),
        memory={name: value.detach() for name, value in state.memory.items()},
    )
