"""SchNet: continuous-filter convolutions.

    v_i <- v_i + MLP(sum_j (W v_j) * F(r_ij) f_c(r_ij)),   F: small network of Gaussians of the distance

K. T. Schütt et al., J. Chem. Phys. 148, 241722 (2018), doi 10.1063/1.5019779.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nucleate.potentials.networks.layers import ACTIVATIONS, MemberLinear, MemberMLP, cosine_cutoff
from nucleate.potentials.networks.network import Graph, NetworkPotential
from nucleate.potentials.networks.settings import SchNetSettings


class SchNet(NetworkPotential):
    """A committee of SchNet networks; see `SchNetSettings`.

    Args:
        species: atomic numbers of the supported elements.
        settings: cutoff and sizes.
        seed: random seed of the initial weights.
    """

    centres: Tensor

    settings: SchNetSettings

    family = "schnet"

    def __init__(self, species: tuple[int, ...], settings: SchNetSettings | None = None, seed: int = 0):
        s = settings or SchNetSettings()
        super().__init__(species, s.cutoff, s.members, s.wall_fraction, s.wall_strength)
        self.settings = s
        draw = torch.Generator().manual_seed(seed)
        m, f = s.members, s.features
        self.embedding = nn.Parameter(torch.randn(m, len(self.species), f, generator=draw, dtype=torch.float64))
        self.register_buffer("centres", torch.linspace(0, s.cutoff, s.radial, dtype=torch.float64))
        self.filters = nn.ModuleList(MemberMLP(m, [s.radial, f, f], "softplus", draw) for _ in range(s.interactions))
        self.inputs = nn.ModuleList(MemberLinear(m, f, f, draw, bias=False) for _ in range(s.interactions))
        self.updates = nn.ModuleList(MemberMLP(m, [f, f, f], "softplus", draw) for _ in range(s.interactions))
        self.output = MemberMLP(m, [f, f // 2, 1], "softplus", draw, 0.3)

    def atomic_energies(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return the (m, n_atoms) energies in units of `energy_scale`; see `NetworkPotential`."""
        distance = vectors.norm(dim=-1)
        spacing = self.centres[1]
        gaussians = torch.exp(-0.5 * ((distance.unsqueeze(-1) - self.centres) / spacing) ** 2)
        cut = cosine_cutoff(distance, self.cutoff).unsqueeze(-1)
        x = self.embedding[:, graph.kind]
        for filter_network, linear, update in zip(self.filters, self.inputs, self.updates, strict=True):
            message = linear(x)[:, graph.neighbour] * (ACTIVATIONS["softplus"](filter_network(gaussians)) * cut)
            x = x + update(torch.zeros_like(x).index_add(1, graph.centre, message))
        result: Tensor = self.output(x).squeeze(-1)
        return result
