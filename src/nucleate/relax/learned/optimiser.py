"""Optimiser whose steps are those of a policy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nucleate.relax.learned.invariants import Agents, invariants, largest_force
from nucleate.relax.learned.policy import Policy
from nucleate.relax.optimisers import Lbfgs
from nucleate.relax.state import State

CURVATURE = 70.0
"""Constant curvature of L-BFGS in learned moves, eV/Å²: policies depend on it."""
ROUNDING = 1e-9
"""Relative excess of a step over the largest one that is rounding: the step of L-BFGS is already limited."""


@dataclass(frozen=True)
class LearnedMoves:
    """Steps a f + b (last step) + c (step of L-BFGS), with coefficients of a policy; below its hand-over force those of L-BFGS.

    A step that points uphill is replaced by that of L-BFGS. Steps turn with the structure while none is limited: the limit applies to the
    rows of the coordinates, as in L-BFGS, and the norms of the rows of a cell depend on its orientation. If there are several policies, the
    state must have as many atoms and structures for each, in their order.

    Attributes:
        policy: the policy.
        maxstep: largest displacement of an atom in one step, Å.
        history: number of pairs in the memory of L-BFGS.
    """

    policy: Policy
    maxstep: float = 0.2
    history: int = 20

    @property
    def quasi_newton(self) -> Lbfgs:
        """The L-BFGS whose step is one of the three directions."""
        return Lbfgs(maxstep=self.maxstep, history=self.history, curvature=CURVATURE)

    def init(self, state: State) -> State:
        """Return the state with an empty memory."""
        state = self.quasi_newton.init(state)
        memory = {
            **state.memory,
            "row_step": torch.zeros_like(state.coordinates),
            "row_previous_f": torch.zeros_like(state.coordinates),
            "previous_e": torch.zeros_like(state.enthalpy),
            "row_hidden": state.coordinates.new_zeros(len(state.coordinates), self.policy.settings.hidden),
        }
        return replace(state, memory=memory)

    def move(self, state: State) -> State:
        """Take one step for every structure.

        The step can be differentiated with respect to the weights of the policy, the coordinates, the forces and the memory.
        """
        quasi = self.quasi_newton.move(state)
        agents = Agents.of(state)
        towards = quasi.coordinates - state.coordinates
        inputs = invariants(state, agents, towards, self.maxstep)
        coefficients, hidden = self._coefficients(inputs, agents.from_rows(state.memory["row_hidden"]), agents)
        a, b, c = agents.to_rows(coefficients).unsqueeze(2).unbind(1)
        force, last = state.gradient_force, state.memory["row_step"]
        # For c = 1 and a = b = 0 nothing is added, and the step is that of L-BFGS to the last bit.
        more = a * force + b * last + (c - 1) * towards
        step = towards + more
        scale = self.maxstep / state.largest_row(step).clamp_min(1e-300)
        long = (scale < 1 - ROUNDING)[state.owner, None]
        # A policy that goes nowhere costs no more than its share of steps.
        near = (largest_force(state) < self.policy.settings.handover) | (state.steps >= self.policy.settings.most_steps)
        # A step that is not a number is not taken either.
        follow = (~near & (state.dot(step, force) > 0))[state.owner, None]
        coordinates = torch.where(long, state.coordinates + scale[state.owner, None] * step, quasi.coordinates + more)
        coordinates = torch.where(follow, coordinates, quasi.coordinates)
        memory = {
            **quasi.memory,
            "row_step": coordinates - state.coordinates,
            "row_previous_f": force,
            "previous_e": state.enthalpy,
            "row_hidden": agents.to_rows(hidden),
        }
        return replace(state, coordinates=coordinates, memory=memory, steps=state.steps + 1)

    def _coefficients(self, inputs: Tensor, hidden: Tensor, agents: Agents) -> tuple[Tensor, Tensor]:
        """Return the coefficients (agents, 3) and new states (agents, hidden) of all policies."""
        p, n_atoms = self.policy.policies, agents.n_atoms

        def split(values: Tensor) -> Tensor:
            parts = values[:n_atoms].view(p, n_atoms // p, -1), values[n_atoms:].view(p, agents.n // p, -1)
            return torch.cat(parts, dim=1)

        def joined(values: Tensor) -> Tensor:
            each = n_atoms // p
            return torch.cat([values[:, :each].reshape(n_atoms, -1), values[:, each:].reshape(agents.n, -1)])

        coefficients, states = self.policy.coefficients(split(inputs), split(hidden))
        return joined(coefficients), joined(states)
