"""Equivariant message-passing network for J and the Dzyaloshinskii-Moriya vector D of pairs.

Sites carry scalars s and vectors v updated by PaiNN messages (K. T. Schütt et al., ICML 2021, arXiv:2102.03150), initialised with element
features, so that elements outside the training set are represented. With r the unit vector from site i to site j,
    J = f(x),   D = g(x) . (v_i x v_j) + h(x) . r x (v_i + v_j),
    x = [s_i + s_j, s_i s_j, v_i . v_j, (v_i - v_j) . r, |v_i + v_j|, b(|r|)].
Every entry of x is invariant under exchange of the sites, rotation and inversion, hence J is as well; both products are axial vectors and
odd under exchange, hence D is as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.errors import BadInput
from nucleate.potentials.networks.layers import MemberMLP
from nucleate.potentials.networks.painn import add_blocks, pass_messages, sine_basis
from nucleate.progress import Progress, Step, silent
from nucleate.spins.models.data import Pairs
from nucleate.spins.models.features import ELEMENT_NAMES, element_features
from nucleate.training.descent import Descent, cosine_decay

LONGEST = 12.0
"""Largest pair distance in Å that the network can represent."""
CHUNK = 64
"""Number of pairs predicted at once."""


class PairNetworkSettings(BaseModel):
    """Architecture and training of the pair network."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(4.0, gt=1.0, le=12.0, description="Cutoff radius of an interaction block in Å.")
    features: int = Field(24, ge=2, le=512, description="Number of scalar and of vector features per site.")
    interactions: int = Field(2, ge=1, le=8, description="Number of message and update blocks.")
    radial: int = Field(12, ge=2, le=128, description="Number of radial basis functions (sine functions of the distance).")
    members: int = Field(4, ge=1, le=64, description="Number of committee members; their spread is the uncertainty.")
    steps: int = Field(400, ge=1, description="Number of optimiser steps.")
    batch: int = Field(32, ge=1, description="Number of pairs per step.")
    rate: float = Field(5e-3, gt=0, description="Maximum learning rate.")
    decay: float = Field(1e-3, ge=0, description="Weight decay.")


@dataclass(frozen=True)
class PairGraph:
    """Crystals with one pair each, as tensors.

    Attributes:
        elements: (atoms, 5) standardised element features.
        vectors: (edges, 3) edge vectors in Å.
        centre, neighbour: (edges,) atom indices of the edges.
        first, second: (n,) atom indices of the pairs.
        apart: (n, 3) pair vectors in Å.
    """

    elements: Tensor
    vectors: Tensor
    centre: Tensor
    neighbour: Tensor
    first: Tensor
    second: Tensor
    apart: Tensor


def element_scale() -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of element features over H to Bi without noble gases, independent of the training set."""
    from ase.data import chemical_symbols

    known = [s for s in chemical_symbols[1:84] if s not in ("He", "Ne", "Ar", "Kr", "Xe") and not 57 < chemical_symbols.index(s) < 72]
    table = np.array([element_features(s) for s in known])
    return table.mean(axis=0), table.std(axis=0)


def pair_graph(pairs: Pairs, cutoff: float, dtype: torch.dtype = torch.float32) -> PairGraph:
    """Build tensors of pairs.

    Raises:
        BadInput: The pairs have no crystals, or a pair is longer than 12 Å.
    """
    if pairs.atoms is None:
        raise BadInput("the pair network requires crystals; use the kernel for pairs given by elements only")
    if pairs.distances.max() > LONGEST:
        raise BadInput(f"a pair is {pairs.distances.max():.1f} Å long; the pair network supports at most {LONGEST:g} Å")
    batch = CrystalBatch.from_atoms(pairs.atoms)
    edges = neighbour_edges(batch, cutoff)
    mean, scale = element_scale()
    table = np.array([element_features(symbol) for atoms in pairs.atoms for symbol in atoms.get_chemical_symbols()])
    offsets = np.concatenate([[0], np.cumsum([len(atoms) for atoms in pairs.atoms])[:-1]])
    return PairGraph(
        torch.tensor((table - mean) / scale, dtype=dtype), edges.vectors(batch).to(dtype), edges.centre, edges.neighbour,
        torch.tensor(offsets + pairs.sites[:, 0]), torch.tensor(offsets + pairs.sites[:, 1]), torch.tensor(pairs.vectors, dtype=dtype),
    )  # fmt: skip


class PairNetwork(nn.Module):
    """Committee of networks with J = shift + scale * output and D = dm_scale * output in meV."""

    scale: Tensor
    dm_scale: Tensor
    shift: Tensor

    def __init__(self, settings: PairNetworkSettings | None = None, seed: int = 0):
        super().__init__()
        self.settings = s = settings or PairNetworkSettings()
        draw = torch.Generator().manual_seed(seed)
        m, f = s.members, s.features
        self.embedding = MemberMLP(m, [len(ELEMENT_NAMES), f, f], "silu", draw)
        add_blocks(self, m, f, s.radial, s.interactions, draw)
        width = 5 * f + s.radial
        self.isotropic = MemberMLP(m, [width, 2 * f, f, 1], "silu", draw, 0.3)
        self.axial = MemberMLP(m, [width, 2 * f, 2 * f], "silu", draw, 0.3)
        self.register_buffer("scale", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("dm_scale", torch.tensor(1.0, dtype=torch.float64))
        self.register_buffer("shift", torch.tensor(0.0, dtype=torch.float64))

    def forward(self, graph: PairGraph) -> tuple[Tensor, Tensor]:
        """Return J (m, n) and D (m, n, 3) in meV."""
        s = self.settings
        elements = graph.elements.expand(s.members, -1, -1)
        apart = graph.vectors.expand(s.members, -1, -1)
        scalar, vector = pass_messages(self, self.embedding(elements), apart, graph.centre, graph.neighbour, s.radial, s.cutoff)
        s1, s2, v1, v2 = scalar[:, graph.first], scalar[:, graph.second], vector[:, graph.first], vector[:, graph.second]
        length = graph.apart.norm(dim=-1, keepdim=True)
        unit = (graph.apart / length)[None, :, :, None]
        together = v1 + v2
        x = torch.cat(
            [
                s1 + s2, s1 * s2, (v1 * v2).sum(2), ((v1 - v2) * unit).sum(2), (together.square().sum(2) + 1e-8).sqrt(),
                sine_basis(length, s.radial, LONGEST).expand(s.members, -1, -1),
            ],
            dim=-1,
        )  # fmt: skip
        weights = self.axial(x).unsqueeze(2)
        g, h = weights.split(s.features, dim=-1)
        dm = (g * torch.linalg.cross(v1, v2, dim=2)).sum(-1) + (h * torch.linalg.cross(unit.expand_as(together), together, dim=2)).sum(-1)
        return self.scale.to(x) * self.isotropic(x).squeeze(-1) + self.shift.to(x), self.dm_scale.to(x) * dm

    def predict(self, pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean and standard deviation of J (n,) over the committee, and mean D (n, 3), in meV."""
        means, spreads, dms = [], [], []
        for start in range(0, len(pairs), CHUNK):
            with torch.no_grad():
                j, d = self(pair_graph(pairs.take(np.arange(start, min(start + CHUNK, len(pairs)))), self.settings.cutoff))
            means.append(j.mean(0).double().numpy())
            spreads.append(j.double().std(0, correction=min(1, len(j) - 1)).numpy())
            dms.append(d.mean(0).double().numpy())
        return np.concatenate(means), np.concatenate(spreads), np.concatenate(dms)


def fit_network(pairs: Pairs, settings: PairNetworkSettings, seed: int = 0, progress: Progress = silent) -> PairNetwork:
    """Train a committee, each member on its own minibatches.

    Args:
        pairs: Pairs with couplings; D is learned if every pair has a D vector.
        settings: Architecture and training settings.
        seed: Random seed of weights and minibatches.
        progress: Called with a `Step` after each optimiser step.

    Raises:
        BadInput: The pairs have no crystals, or a pair is longer than 12 Å.
        NucleateError: The loss is not finite.
    """
    graphs = [pair_graph(pairs.take([k]), settings.cutoff) for k in range(len(pairs))]
    network = PairNetwork(settings, seed).float()
    with_dm = bool(np.isfinite(pairs.dm).all())
    network.scale.fill_(max(float(pairs.couplings.std()), 1e-6))
    network.dm_scale.fill_(max(float(np.sqrt((pairs.dm**2).mean())), 1e-6) if with_dm else 1.0)
    network.shift.fill_(float(pairs.couplings.mean()))
    warm = max(1, settings.steps // 20)
    descent = Descent(
        network.parameters(), settings.rate, settings.decay, lambda k: min((k + 1) / warm, cosine_decay(k / settings.steps)), clip=10.0
    )
    draw = np.random.default_rng(seed)
    size = min(settings.batch, len(pairs))
    j = torch.tensor(pairs.couplings, dtype=torch.float32)
    d = torch.tensor(pairs.dm, dtype=torch.float32)
    scale, dm_scale = network.scale.float(), network.dm_scale.float()
    for step in range(settings.steps):
        rows = draw.choice(len(pairs), size, replace=False)
        # Members differ in their initial parameters and in the random weights of the training pairs.
        weights = torch.tensor(draw.exponential(size=(settings.members, size)), dtype=torch.float32)
        found, axial = network(_joined([graphs[k] for k in rows]))
        loss = (weights * ((found - j[rows]) / scale).square()).mean()
        if with_dm:
            loss = loss + (weights.unsqueeze(-1) * ((axial - d[rows]) / dm_scale).square()).mean()
        descent.step(loss)
        progress(Step("training", step + 1, settings.steps))
    return network


def _joined(graphs: list[PairGraph]) -> PairGraph:
    offsets = np.concatenate([[0], np.cumsum([len(g.elements) for g in graphs])[:-1]])
    moved = {
        name: torch.cat([getattr(g, name) + int(o) for g, o in zip(graphs, offsets, strict=True)])
        for name in ("centre", "neighbour", "first", "second")
    }
    plain = {name: torch.cat([getattr(g, name) for g in graphs]) for name in ("elements", "vectors", "apart")}
    return PairGraph(**plain, **moved)
