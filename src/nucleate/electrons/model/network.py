"""Committee of networks that map the features of a point to its local density of states.

The last layer is linear, d(E, r) = W_E h(r) + b_E. Sums over space act only on h and sums over energies only on W, so the local density
of states itself is never stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nucleate.electrons.messages.network import MessageNetwork
from nucleate.potentials.networks.layers import MemberMLP


class LdosNetwork(torch.nn.Module):
    """Committee of perceptrons on standardised features.

    Its state has the names of tensors in model files: `weights.k`, `biases.k`, `last` and `last_bias`.

    Args:
        features: Number of features per point.
        outputs: Number of energies.
        hidden: Widths of the hidden layers.
        members: Number of committee members.
        seed: Random seed of the weights.
        messages: Network of the atoms, whose messages are further features of a point.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        features: int,
        outputs: int,
        hidden: tuple[int, ...] = (256, 128),
        members: int = 2,
        seed: int = 0,
        messages: MessageNetwork | None = None,
    ):
        super().__init__()
        self.shape = {"features": features, "outputs": outputs, "hidden": list(hidden), "members": members}
        inputs = features + (0 if messages is None else messages.features)
        draw = torch.Generator().manual_seed(seed)
        self.perceptron = MemberMLP(members, (inputs, *hidden, outputs), "silu", draw, dtype=torch.float32)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.messages = messages
        self.register_state_dict_post_hook(_to_names_of_files)
        self.register_load_state_dict_pre_hook(_from_names_of_files)

    @property
    def members(self) -> int:
        """Number of committee members."""
        return len(self.last)

    @property
    def last(self) -> Tensor:
        """Weights of the last layer, (members, width, energies)."""
        weight: Tensor = self.perceptron.layers[-1].weight  # type: ignore[assignment]
        return weight

    @property
    def last_bias(self) -> Tensor:
        """Biases of the last layer, (members, energies)."""
        bias: Tensor = self.perceptron.layers[-1].bias  # type: ignore[assignment]
        return bias.squeeze(1)

    def hidden(self, features: Tensor) -> Tensor:
        """Return h of every member: features (points, features), or those of each member, to (members, points, width)."""
        return self.perceptron.hidden(self._standardised(features))

    def forward(self, features: Tensor) -> Tensor:
        """Return d of every member, (members, points, energies); features as for `hidden`."""
        found: Tensor = self.perceptron(self._standardised(features))
        return found

    def _standardised(self, features: Tensor) -> Tensor:
        return ((features - self.mean) * self.scale).expand(self.members, -1, -1)

    def description(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        return self.shape if self.messages is None else {**self.shape, "messages": self.messages.settings.model_dump()}

    def names_of_files(self) -> dict[str, str]:
        """Return the names of the perceptron's parameters in model files by those in this module."""
        last = len(self.perceptron.layers) - 1
        names = {f"perceptron.layers.{last}.weight": "last", f"perceptron.layers.{last}.bias": "last_bias"}
        for k in range(last):
            names |= {f"perceptron.layers.{k}.weight": f"weights.{k}", f"perceptron.layers.{k}.bias": f"biases.{k}"}
        return names


def _to_names_of_files(network: LdosNetwork, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for own, name in network.names_of_files().items():
        tensor = state.pop(prefix + own)
        state[prefix + name] = tensor.squeeze(1) if name == "last_bias" else tensor


def _from_names_of_files(network: LdosNetwork, state: dict[str, Any], prefix: str, *others: Any) -> None:
    for own, name in network.names_of_files().items():
        if prefix + name in state:
            tensor = state.pop(prefix + name)
            state[prefix + own] = tensor.unsqueeze(1) if name == "last_bias" else tensor
