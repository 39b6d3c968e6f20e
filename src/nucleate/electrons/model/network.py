"""The network: features of a point to its local density of states, a committee evaluated at once.

The last layer is linear, d(E, r) = W_E h(r) + b_E: sums over space act on h alone, sums over energies on W alone, and the local density of
states itself need never be formed.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor


class LdosNetwork(torch.nn.Module):
    """A committee of perceptrons on standardised features.

    Args:
        features: numbers a point has.
        outputs: energies.
        hidden: widths of the hidden layers.
        members: of the committee.
        seed: of the weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, features: int, outputs: int, hidden: tuple[int, ...] = (256, 128), members: int = 2, seed: int = 0):
        super().__init__()
        self.shape = {"features": features, "outputs": outputs, "hidden": list(hidden), "members": members}
        generator = torch.Generator().manual_seed(seed)
        widths = (features, *hidden)
        self.weights = torch.nn.ParameterList()
        self.biases = torch.nn.ParameterList()
        for a, b in itertools.pairwise(widths):
            self.weights.append(torch.nn.Parameter(torch.randn(members, a, b, generator=generator) / math.sqrt(a)))
            self.biases.append(torch.nn.Parameter(torch.zeros(members, 1, b)))
        self.last = torch.nn.Parameter(torch.randn(members, widths[-1], outputs, generator=generator) / math.sqrt(widths[-1]))
        self.last_bias = torch.nn.Parameter(torch.zeros(members, outputs))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    @property
    def members(self) -> int:
        """Of the committee."""
        return len(self.last)

    def hidden(self, features: Tensor) -> Tensor:
        """h of every member: (points, features) to (members, points, width)."""
        x = ((features - self.mean) * self.scale).expand(self.members, -1, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.nn.functional.silu(torch.baddbmm(bias, x, weight))
        return x

    def forward(self, features: Tensor) -> Tensor:
        """d of every member: (members, points, energies)."""
        return torch.baddbmm(self.last_bias.unsqueeze(1), self.hidden(features), self.last)

    def description(self) -> dict[str, Any]:
        """What makes it again, weights apart."""
        return self.shape
