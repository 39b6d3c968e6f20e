"""Policy of moves: a small recurrent network from the invariants of an agent to the coefficients of its step.

    step = a f + b (last step) + c (step of L-BFGS)

The network is a gated recurrent unit (K. Cho et al., arXiv:1406.1078) with one state vector for each agent, or a layer
without a state. Since a, b and c are invariants, the step rotates with the structure. The last layer of a new policy is zero, so that a
new policy is L-BFGS (or, without its step, steepest descent).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from nucleate.relax.learned.invariants import NAMES

DIRECTIONS = ("force", "last step", "quasi-Newton step")
"""Directions that a step combines, in the order of their coefficients."""
ALPHA = 70.0
"""Curvature of the unit of the coefficient of the force, eV/Å², the initial one of L-BFGS."""
MOST_FORCE = 3.0
"""Largest coefficient of the force beside the step of L-BFGS, in units of 1 / ALPHA."""
MOST_QUASI = 3.0
"""Largest factor of the step of L-BFGS; the smallest is its inverse."""
SPREAD = 3.0
"""Largest logarithm of the coefficient of the force without L-BFGS, in units of 1 / ALPHA."""


class PolicySettings(BaseModel):
    """Form of a policy."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    memory: Literal["gru", "none", "momentum"] = Field(
        "gru",
        description="Memory of an agent: gru; none: last step and last force alone; momentum: as none, and steps without L-BFGS.",
    )
    hidden: int = Field(8, ge=1, le=256, description="Number of units.")
    handover: float = Field(0.2, ge=0, le=1e3, description="Largest force of a structure, eV/Å, below which its steps are those of L-BFGS.")
    most_steps: int = Field(100, ge=0, le=1_000_000, description="Number of steps of a structure after which L-BFGS takes over.")


class Policy:
    """Weights of one policy, or of several that act on equal parts of a batch.

    Args:
        settings: form of the policy.
        weights: tensors by name, each with a leading axis of the number of policies, float64.

    Attributes:
        policies: number of policies.
    """

    def __init__(self, settings: PolicySettings, weights: dict[str, Tensor]):
        self.settings = settings
        self.weights = weights
        self.policies = weights["out"].shape[0]

    @staticmethod
    def shapes(settings: PolicySettings) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights of one policy, by name."""
        h, inputs = settings.hidden, len(NAMES)
        if settings.memory == "gru":
            return {"input": (inputs, 3 * h), "bias": (1, 3 * h), "recurrent": (h, 3 * h), "out": (h, 3), "out_bias": (1, 3)}
        return {"input": (inputs, h), "bias": (1, h), "second": (h, h), "second_bias": (1, h), "out": (h, 3), "out_bias": (1, 3)}

    @classmethod
    def fresh(cls, settings: PolicySettings, seed: int) -> Policy:
        """Return a new policy with a last layer of zeros."""
        generator = torch.Generator().manual_seed(seed)
        weights = {}
        for name, shape in cls.shapes(settings).items():
            if name.startswith("out") or name.endswith("bias"):
                weights[name] = torch.zeros(1, *shape, dtype=torch.float64)
            else:
                weights[name] = torch.randn(1, *shape, generator=generator, dtype=torch.float64) / math.sqrt(shape[0])
        return cls(settings, weights)

    @classmethod
    def from_flat(cls, settings: PolicySettings, flat: Tensor) -> Policy:
        """Return the policies of weights (policies, n) in the order of `shapes`."""
        weights, start = {}, 0
        for name, shape in cls.shapes(settings).items():
            size = math.prod(shape)
            weights[name] = flat[:, start : start + size].reshape(len(flat), *shape)
            start += size
        return cls(settings, weights)

    def to(self, device: torch.device | str) -> Policy:
        """Return the policy on a device."""
        return Policy(self.settings, {name: value.to(device) for name, value in self.weights.items()})

    def flat(self) -> Tensor:
        """Return the weights (policies, n)."""
        return torch.cat([self.weights[name].flatten(1) for name in self.shapes(self.settings)], dim=1)

    def coefficients(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coefficients a (Å²/eV), b and c of agents and their new states.

        Args:
            inputs: (policies, agents, len(NAMES)) invariants.
            hidden: (policies, agents, hidden) states.
        """
        w = self.weights
        if self.settings.memory == "gru":
            r_in, z_in, n_in = (inputs @ w["input"] + w["bias"]).chunk(3, dim=2)
            r_h, z_h, n_h = (hidden @ w["recurrent"]).chunk(3, dim=2)
            update = torch.sigmoid(z_in + z_h)
            hidden = (1 - update) * torch.tanh(n_in + torch.sigmoid(r_in + r_h) * n_h) + update * hidden
            top = hidden
        else:
            top = torch.tanh(torch.tanh(inputs @ w["input"] + w["bias"]) @ w["second"] + w["second_bias"])
        a, b, c = (torch.tanh(top @ w["out"] + w["out_bias"])).unbind(2)
        if self.settings.memory == "momentum":
            coefficients = (torch.exp(SPREAD * a) / ALPHA, b, torch.zeros_like(c))
        else:
            coefficients = (MOST_FORCE * a / ALPHA, b, torch.exp(math.log(MOST_QUASI) * c))
        return torch.stack(coefficients, dim=2), hidden
