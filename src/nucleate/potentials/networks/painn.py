"""PaiNN: equivariant message passing with scalar and vector features.

    message  ds_i = sum_j phi_s(s_j) * W_s(r_ij)
             dv_i = sum_j (v_j * phi_vv(s_j) W_vv(r_ij) + phi_vs(s_j) W_vs(r_ij) r_ij/|r_ij|)
    update   ds_i = a_ss(s, |Vv|) + a_sv(s, |Vv|) <Uv, Vv>,   dv_i = a_vv(s, |Vv|) Uv

K. T. Schütt, O. T. Unke and M. Gastegger, ICML 2021, arXiv:2102.03150.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nucleate.potentials.networks.layers import MemberLinear, MemberMLP, cosine_cutoff
from nucleate.potentials.networks.network import Graph, NetworkPotential
from nucleate.potentials.networks.settings import PaiNNSettings


def add_blocks(module: nn.Module, members: int, features: int, radial: int, interactions: int, draw: torch.Generator) -> None:
    """Add the weights that `pass_messages` uses to a module: messages, filters, mixings and updates."""
    m, f, k = members, features, interactions
    module.messages = nn.ModuleList(MemberMLP(m, [f, f, 3 * f], "silu", draw) for _ in range(k))
    module.filters = nn.ModuleList(MemberLinear(m, radial, 3 * f, draw) for _ in range(k))
    module.mixings = nn.ModuleList(MemberLinear(m, f, 2 * f, draw, bias=False) for _ in range(k))
    module.updates = nn.ModuleList(MemberMLP(m, [2 * f, f, 3 * f], "silu", draw) for _ in range(k))


def sine_basis(distance: Tensor, radial: int, cutoff: float) -> Tensor:
    """Return (..., radial) functions sin(n pi r / r_c) / r of distances (..., 1)."""
    waves = torch.arange(1, radial + 1, dtype=distance.dtype, device=distance.device) * (math.pi / cutoff)
    return torch.sin(distance * waves) / distance


def pass_messages(
    module: nn.Module, scalar: Tensor, vectors: Tensor, centre: Tensor, neighbour: Tensor, radial: int, cutoff: float
) -> tuple[Tensor, Tensor]:
    """Return scalars (m, n, f) and vectors (m, n, 3, f) of atoms after all interactions.

    Args:
        module: module with the weights of `add_blocks`.
        scalar: (m, n, f) initial scalar features.
        vectors: (m, n_edges, 3) edge vectors, Å.
        centre, neighbour: (n_edges,) atom indices.
        radial: number of sine functions.
        cutoff: cutoff radius, Å.
    """
    m, n, f = scalar.shape
    distance = vectors.norm(dim=-1, keepdim=True)
    unit = (vectors / distance).unsqueeze(-1)
    basis = sine_basis(distance, radial, cutoff)
    cut = cosine_cutoff(distance, cutoff)
    vector = scalar.new_zeros(m, n, 3, f)
    blocks: Any = (module.messages, module.filters, module.mixings, module.updates)
    for message, filter_layer, mixing, update in zip(*blocks, strict=True):
        weights = message(scalar)[:, neighbour] * (filter_layer(basis) * cut)
        ds, dvv, dvs = weights.split(f, dim=-1)
        dv = vector[:, neighbour] * dvv.unsqueeze(2) + dvs.unsqueeze(2) * unit
        scalar = scalar + torch.zeros_like(scalar).index_add(1, centre, ds)
        vector = vector + torch.zeros_like(vector).index_add(1, centre, dv)
        left, right = mixing(vector.reshape(m, n * 3, f)).view(m, n, 3, 2 * f).split(f, dim=-1)
        # The derivative of the norm diverges at zero, the value for symmetric sites; the constant keeps it finite.
        norm = ((right * right).sum(2) + 1e-8).sqrt()
        a_ss, a_sv, a_vv = update(torch.cat([scalar, norm], dim=-1)).split(f, dim=-1)
        scalar = scalar + a_ss + a_sv * (left * right).sum(2)
        vector = vector + a_vv.unsqueeze(2) * left
    return scalar, vector


class PaiNN(NetworkPotential):
    """A committee of PaiNN networks; see `PaiNNSettings`.

    Args:
        species: atomic numbers of the supported elements.
        settings: cutoff and sizes.
        seed: random seed of the initial weights.
    """

    settings: PaiNNSettings

    family = "painn"

    def __init__(self, species: tuple[int, ...], settings: PaiNNSettings | None = None, seed: int = 0):
        s = settings or PaiNNSettings()
        super().__init__(species, s.cutoff, s.members, s.wall_fraction, s.wall_strength)
        self.settings = s
        draw = torch.Generator().manual_seed(seed)
        m, f, k = s.members, s.features, s.interactions
        self.embedding = nn.Parameter(torch.randn(m, len(self.species), f, generator=draw, dtype=torch.float64))
        add_blocks(self, m, f, s.radial, k, draw)
        self.output = MemberMLP(m, [f, f // 2, 1], "silu", draw, 0.3)

    def atomic_energies(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return the (m, n_atoms) energies in units of `energy_scale`; see `NetworkPotential`."""
        scalar, _ = pass_messages(
            self, self.embedding[:, graph.kind], vectors, graph.centre, graph.neighbour, self.settings.radial, self.cutoff
        )
        result: Tensor = self.output(scalar).squeeze(-1)
        return result
