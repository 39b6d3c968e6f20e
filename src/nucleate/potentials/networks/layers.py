"""Layers with a committee axis: every member has its own weights, and all members are evaluated in one product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
    "celu": lambda x: nn.functional.celu(x, 0.1),
    "relu": torch.relu,
    "softplus": lambda x: nn.functional.softplus(x) - math.log(2.0),
    "gaussian": lambda x: torch.exp(-x * x),
}
"""Activation functions by name: `celu` with alpha 0.1 as in ANI, `softplus` shifted to zero at zero as in SchNet, `gaussian` exp(-x^2)."""


class MemberLinear(nn.Module):
    """A linear map for each member.

    Args:
        members: number of members m.
        inputs, outputs: sizes.
        draw: random generator of the initial weights, which are normal with variance gain^2 / inputs; biases are zero.
        gain: factor of the standard deviation of the initial weights.
        bias: whether the map has a bias.
        dtype: type of the weights, in which they are also drawn.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        outputs: int,
        draw: torch.Generator,
        gain: float = 1.0,
        bias: bool = True,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        weight = torch.randn(members, inputs, outputs, generator=draw, dtype=dtype) * (gain / math.sqrt(inputs))
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (m, n, inputs) to (m, n, outputs)."""
        return x @ self.weight if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class MemberMLP(nn.Module):
    """Multilayer perceptron for each member.

    Args:
        members: number of members m.
        sizes: sizes of all layers, including input and output.
        activation: name in `ACTIVATIONS` of the activation between the layers.
        draw: random generator of the initial weights.
        last_gain: gain of the initial weights of the last layer.
        last_activation: name of the activation after the last layer, or None.
        dtype: type of the weights, in which they are also drawn.
    """

    def __init__(
        self,
        members: int,
        sizes: Sequence[int],
        activation: str,
        draw: torch.Generator,
        last_gain: float = 1.0,
        last_activation: str | None = None,
        dtype: torch.dtype = torch.float64,
    ):
        super().__init__()
        last = len(sizes) - 2
        self.layers = nn.ModuleList(
            MemberLinear(members, sizes[k], sizes[k + 1], draw, last_gain if k == last else 1.0, dtype=dtype) for k in range(last + 1)
        )
        self.activation = ACTIVATIONS[activation]
        self.last_activation = ACTIVATIONS[last_activation] if last_activation else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (m, n, sizes[0]) to (m, n, sizes[-1])."""
        return self._after(self.layers[0](x))

    def hidden(self, x: Tensor) -> Tensor:
        """Return the inputs of the last layer, (m, n, sizes[-2])."""
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return x

    def standardised(self, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """Return `forward((x - mean) / std)`; mean and std (sizes[0],) are merged into the first layer to save a pass over the inputs."""
        first = cast(MemberLinear, self.layers[0])
        assert first.bias is not None
        weight = first.weight / std.unsqueeze(1)
        return self._after(torch.baddbmm(first.bias - (mean @ weight).unsqueeze(1), x, weight))

    def _after(self, x: Tensor) -> Tensor:
        for layer in self.layers[1:]:
            x = layer(self.activation(x))
        return x if self.last_activation is None else self.last_activation(x)


def cosine_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """Return (1 + cos(pi r / r_c)) / 2 within the cutoff, 0 beyond (J. Behler, M. Parrinello, doi 10.1103/PhysRevLett.98.146401)."""
    return torch.where(distance < cutoff, 0.5 + 0.5 * torch.cos(distance * (math.pi / cutoff)), torch.zeros_like(distance))


def smooth_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """Return 1 - 6 x^5 + 15 x^4 - 10 x^3 with x = r / r_c, whose value and first two derivatives vanish at the cutoff."""
    x = (distance / cutoff).clamp(max=1.0)
    return 1 - x**3 * (10 + x * (6 * x - 15))
