"""Equivariant network of the atoms, with attention between neighbours, and its messages to the points of a grid.

Every atom i has features X_i of degrees l = 0..L. In each layer they are updated by messages of the neighbours j,

    X_i <- X_i + W sum_j a_ij v_ij,   a_ij = f(r_ij) exp(q_i . k_ij) / (1 + sum_j f(r_ij) exp(q_i . k_ij)),

where the queries q_i are linear in X_i, and keys k_ij and values v_ij are sums over the products of X_j with the harmonics of the direction
from i to j, with weights that depend on the distance: F. B. Fuchs, D. E. Worrall, V. Fischer and M. Welling, SE(3)-Transformers, NeurIPS
2020, arXiv:2006.10503. The envelope f and the 1 make the weights of attention smooth where an atom crosses the cutoff. Products of odd
parity are left out, so that the features are those of O(3). After each layer, a perceptron of the invariants of an atom changes its scalars
and scales its other features.

A point of the grid at r is a probe, which receives one message of each degree from the atoms around it,

    u_l(r) = sum_k sum_n w_ln g_n(|R_k - r|) sum_m Z_k,lm Y_lm(R_k - r),

with Z linear in X. The messages are invariant. They are linear in the features of the atoms, so the features are made once for a structure,
and their gradient is summed over all points before it is propagated back to the positions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nucleate.electrons.messages.atom_graph import AtomGraph
from nucleate.electrons.messages.coupling import coupling, paths
from nucleate.electrons.messages.radial import SOFT, directions, shells
from nucleate.electrons.messages.settings import MessageSettings
from nucleate.errors import BadInput
from nucleate.potentials.networks.layers import MemberMLP

CHUNK = 500
"""Number of atoms whose messages are made at once."""


class DegreeLinear(nn.Module):
    """Linear map of the channels of each degree for each member: (n, lm, m, inputs) to (n, lm, m, outputs)."""

    def __init__(self, degree: int, members: int, inputs: int, outputs: int, draw: torch.Generator):
        super().__init__()
        weight = torch.randn(degree + 1, members, inputs, outputs, generator=draw, dtype=torch.float32)
        self.weight = nn.Parameter(weight / inputs**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map."""
        rows = []
        for l in range(len(self.weight)):
            part = x[:, l * l : (l + 1) ** 2]
            n, a, m, c = part.shape
            product = torch.bmm(part.permute(2, 0, 1, 3).reshape(m, n * a, c), self.weight[l])
            rows.append(product.view(m, n, a, -1).permute(1, 2, 0, 3))
        return torch.cat(rows, dim=1)


class MessageLayer(nn.Module):
    """One exchange of messages between atoms, followed by a perceptron on every atom.

    Args:
        s: Architecture.
        members: Number of committee members m.
        draw: Random generator of the initial weights.
        scalars: Whether the atoms have features of degree 0 only, as in the first layer.
    """

    def __init__(self, s: MessageSettings, members: int, draw: torch.Generator, scalars: bool):
        super().__init__()
        self.settings, self.members = s, members
        self.paths = [path for path in paths(s.degree) if path[0] == 0 or not scalars]
        outputs = len(self.paths) * s.channels
        self.value = MemberMLP(members, (s.radial, 2 * s.radial, outputs), "silu", draw, dtype=torch.float32)
        if s.heads:
            self.key = MemberMLP(members, (s.radial, 2 * s.radial, outputs), "silu", draw, dtype=torch.float32)
            self.query = DegreeLinear(s.degree, members, s.channels, s.channels, draw)
        self.out = DegreeLinear(s.degree, members, s.channels, s.channels, draw)
        invariants = s.channels * (s.degree + 1)
        self.update = MemberMLP(members, (invariants, 2 * s.channels, invariants), "silu", draw, 0.3, dtype=torch.float32)

    def forward(self, x: Tensor, graph: AtomGraph, lengths: Tensor, harmonics: Tensor) -> Tensor:
        """Map the features (n, lm, m, channels) of the atoms to new ones."""
        parts = graph.chunks(CHUNK)
        if len(parts) > 1 and torch.is_grad_enabled():
            received = [cast(Tensor, checkpoint(self._received, x, graph, lengths, harmonics, part, use_reentrant=False)) for part in parts]
        else:
            received = [self._received(x, graph, lengths, harmonics, part) for part in parts]
        return self._updated(x + self.out(torch.cat(received)))

    def _received(self, x: Tensor, graph: AtomGraph, lengths: Tensor, harmonics: Tensor, part: tuple[int, int, int, int]) -> Tensor:
        """Return the sum of the messages that a range of atoms receives."""
        s = self.settings
        first, last, start, end = part
        centre, neighbour = graph.centre[start:end] - first, graph.neighbour[start:end]
        near = shells(lengths[start:end], s.radial, s.cutoff).to(x.dtype)
        envelope = (1 - (lengths[start:end] / s.cutoff).square()).clamp(min=0).pow(2).to(x.dtype)
        sent, edges = x[neighbour], end - start
        value = self._weights(self.value, near)
        key = self._weights(self.key, near) if s.heads else None
        values = [torch.zeros_like(sent[:, :1]).expand(-1, 2 * l + 1, -1, -1) for l in range(s.degree + 1)]
        keys = list(values)
        for k, (a, b, c) in enumerate(self.paths):
            turned = torch.einsum("abx,eb->exa", coupling((a, b, c)), harmonics[start:end, b * b : (b + 1) ** 2]).to(x.dtype)
            product = torch.bmm(turned, sent[:, a * a : (a + 1) ** 2].flatten(2)).view(edges, 2 * c + 1, self.members, s.channels)
            values[c] = values[c] + value[:, k].unsqueeze(1) * product
            if key is not None:
                keys[c] = keys[c] + key[:, k].unsqueeze(1) * product
        message = torch.cat(values, 1)
        if key is None:
            weight = envelope[:, None, None] / 4
        else:
            weight = self._attention(self.query(x[first:last])[centre], torch.cat(keys, 1), envelope, centre, last - first)
        message = message * weight.unsqueeze(1)
        return torch.zeros(last - first, *message.shape[1:], dtype=x.dtype).index_add(0, centre, message)

    def _weights(self, of_distance: MemberMLP, near: Tensor) -> Tensor:
        """Return the weights (edges, paths, m, channels) of the products."""
        found = of_distance(near.expand(self.members, -1, -1))
        return found.view(self.members, len(near), len(self.paths), self.settings.channels).permute(1, 2, 0, 3)

    def _attention(self, query: Tensor, key: Tensor, envelope: Tensor, centre: Tensor, atoms: int) -> Tensor:
        """Return the weights of attention (edges, m, channels), equal for the channels of a head."""
        heads, each = self.settings.heads, self.settings.channels // self.settings.heads
        scores = (query * key).sum(1).unflatten(-1, (heads, each)).sum(-1) / (each * query.shape[1]) ** 0.5
        # The largest score is subtracted for the exponential function alone; 0 is that of the 1 in the denominator.
        index = centre[:, None, None].expand_as(scores)
        largest = torch.zeros(atoms, *scores.shape[1:], dtype=scores.dtype).scatter_reduce(0, index, scores.detach(), "amax")
        raised = envelope[:, None, None] * torch.exp(scores - largest[centre])
        total = torch.exp(-largest).index_add(0, centre, raised)
        return (raised / total[centre]).repeat_interleave(each, dim=-1)

    def _updated(self, x: Tensor) -> Tensor:
        """Change the scalars and scale the other features by functions of the invariants."""
        degree = self.settings.degree
        lengths = [x[:, l * l : (l + 1) ** 2].square().mean(1) for l in range(1, degree + 1)]
        invariants = torch.cat([x[:, 0], *lengths], -1).transpose(0, 1)
        change = self.update(invariants).transpose(0, 1).unflatten(-1, (degree + 1, -1))
        rows = [x[:, :1] + change[:, None, :, 0]]
        for l in range(1, degree + 1):
            rows.append(x[:, l * l : (l + 1) ** 2] * (1 + change[:, None, :, l]))
        return torch.cat(rows, 1)


class MessageNetwork(nn.Module):
    """Features of the atoms, and the messages that grid points receive from them.

    Args:
        settings: Architecture.
        species: Number of elements.
        reach: Cutoff radius of the messages to grid points in Å.
        members: Number of committee members m.
        draw: Random generator of the initial weights.

    Raises:
        BadInput: The number of heads is not a divisor of that of channels.
    """

    def __init__(self, settings: MessageSettings, species: int, reach: float, members: int, draw: torch.Generator):
        super().__init__()
        s = settings
        if s.heads and s.channels % s.heads:
            raise BadInput(f"messages: {s.heads} heads do not divide {s.channels} channels; choose a divisor, or 0 for no attention")
        self.settings, self.reach, self.members = s, reach, members
        self.kinds = nn.Parameter(torch.randn(species, members, s.channels, generator=draw, dtype=torch.float32))
        self.layers = nn.ModuleList(MessageLayer(s, members, draw, k == 0) for k in range(s.layers))
        self.sent = DegreeLinear(s.degree, members, s.channels, s.width, draw)
        shape = s.degree + 1, members, s.radial, s.width
        self.radial = nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float32) / s.radial**0.5)

    @property
    def features(self) -> int:
        """Number of messages that a point receives."""
        return self.settings.width * (self.settings.degree + 1)

    def nodes(self, graph: AtomGraph) -> Tensor:
        """Return Z of all atoms, (n_atoms, lm, m, width)."""
        s = self.settings
        lengths, harmonics = directions(graph.vectors, s.degree)
        start = self.kinds[graph.species].unsqueeze(1)
        rest = torch.zeros(len(start), (s.degree + 1) ** 2 - 1, *start.shape[2:], dtype=start.dtype)
        x = torch.cat([start, rest], 1)
        for layer in self.layers:
            x = layer(x, graph, lengths, harmonics)
        found: Tensor = self.sent(x)
        return found

    def forward(self, points: Tensor, atoms: Tensor, index: Tensor, nodes: Tensor) -> Tensor:
        """Return the messages that points receive, (m, blocks * points, features).

        Args:
            points: (blocks, points, 3) positions in Å.
            atoms: (blocks, near, 3) positions of the atoms around each block in Å.
            index: (blocks, near) index of each of these atoms in `nodes`; -1 for padding.
            nodes: Z of all atoms.
        """
        s = self.settings
        blocks, count, near = points.shape[0], points.shape[1], atoms.shape[1]
        vectors = atoms.unsqueeze(1) - points.unsqueeze(2)
        length, harmonics = directions(vectors, s.degree, SOFT)
        # The envelope vanishes at the cutoff of the distance itself.
        g = shells((length.square() - SOFT**2).clamp(min=0).add(1e-12).sqrt(), s.radial, self.reach)
        g = g * (index >= 0)[:, None, :, None]
        own = nodes[index.clamp(min=0)]
        rows = []
        for l in range(s.degree + 1):
            there = torch.einsum("bpkn,bpkx->bpkxn", g, harmonics[..., l * l : (l + 1) ** 2]).reshape(blocks, count, -1)
            here = torch.einsum("bkxmu,mnu->mbkxnu", own[:, :, l * l : (l + 1) ** 2], self.radial[l])
            here = here.reshape(self.members, blocks, near * (2 * l + 1) * s.radial, s.width)
            rows.append(torch.matmul(there, here).flatten(1, 2))
        return torch.cat(rows, -1)
