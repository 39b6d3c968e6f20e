"""Committee of networks that map the features of a point to its local density of states.

The last layer is linear, d(E, r) = W_E h(r) + b_E. Sums over space act only on h and sums over energies only on W, so the local density
of states itself is never stored.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor


class LdosNetwork(torch.nn.Module):
    """Committee of perceptrons on standardised features.

    Args:
        features: Number of features per point.
        outputs: Number of energies.
        hidden: Widths of the hidden layers.
        members: Number of committee members.
        seed: Random seed of the weights.
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
        """Number of committee members."""
        return len(self.last)

    def hidden(self, features: Tensor) -> Tensor:
        """Return h of every member: (points, features) to (members, points, width)."""
        x = ((features - self.mean) * self.scale).expand(self.members, -1, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = torch.nn.functional.silu(torch.baddbmm(bias, x, weight))
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Return d of every member: (members, points, energies)."""
        return torch.baddbmm(self.last_bias.unsqueeze(1), self.hidden(features), self.last)

    def description(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return self.shape
