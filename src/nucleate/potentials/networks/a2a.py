"""Behler-Parrinello networks: symmetry functions of the atomic neighbourhood as inputs of one network per species.

    E = sum_i NN_z(i)(G_i)

J. Behler and M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi 10.1103/PhysRevLett.98.146401; see `symmetry_functions`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.errors import BadInput, quoted
from nucleate.potentials.networks.layers import MemberMLP
from nucleate.potentials.networks.network import Graph, NetworkPotential
from nucleate.potentials.networks.settings import A2ASettings
from nucleate.potentials.networks.symmetry_functions import ModifiedAngular, OriginalAngular, Radial, SymmetryFunctions


class A2A(NetworkPotential):
    """A committee of Behler-Parrinello networks; see `A2ASettings`.

    Args:
        species: atomic numbers of the supported elements.
        settings: functions and sizes.
        seed: random seed of the initial weights.

    Attributes:
        networks: network of each chemical symbol, with weights of all members.
        feature_mean, feature_std: (n_species, n_functions) mean and standard deviation of the functions in the training data.
    """

    feature_mean: Tensor
    feature_std: Tensor

    settings: A2ASettings

    family = "a2a"

    def __init__(self, species: tuple[int, ...], settings: A2ASettings | None = None, seed: int = 0):
        s = settings or A2ASettings()
        super().__init__(species, max(s.cutoff, s.angular_cutoff), s.members, s.wall_fraction, s.wall_strength)
        self.settings = s
        symbols = [chemical_symbols[z] for z in self.species]
        unknown = sorted(set(s.hidden_of) - set(symbols))
        if unknown:
            raise BadInput(f"hidden_of contains {', '.join(unknown)}, but the data contain only {', '.join(symbols)}; remove these keys")
        draw = torch.Generator().manual_seed(seed)
        self.functions = SymmetryFunctions(len(symbols), _radial(s), _angular(s))
        self.networks = nn.ModuleDict(
            {
                symbol: MemberMLP(
                    s.members, [len(self.functions), *s.hidden_of.get(symbol, s.hidden), 1], s.activation, draw, 0.3, s.output
                )
                for symbol in symbols
            }
        )
        self.register_buffer("feature_mean", torch.zeros(len(symbols), len(self.functions), dtype=torch.float64))
        self.register_buffer("feature_std", torch.ones(len(symbols), len(self.functions), dtype=torch.float64))

    def energies(self, features: Tensor, kind: Tensor) -> Tensor:
        """Convert (m, n_atoms, n_functions) symmetry functions to (m, n_atoms) energies in units of `energy_scale`."""
        order = torch.argsort(kind, stable=True)
        counts = torch.bincount(kind, minlength=len(self.species)).tolist()
        parts = features.index_select(1, order).split(counts, dim=1)
        networks = zip(self.networks.values(), parts, self.feature_mean, self.feature_std, strict=True)
        energies = [cast(MemberMLP, network).standardised(part, mean, std).squeeze(-1) for network, part, mean, std in networks]
        return torch.cat(energies, dim=1).index_select(1, torch.argsort(order))

    def atomic_energies(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return the (m, n_atoms) energies in units of `energy_scale`; see `NetworkPotential`."""
        features = self.functions(vectors[0], graph)
        return self.energies(features.expand(self.members, *features.shape), graph.kind)

    def energy_and_slope(self, vectors: Tensor, graph: Graph, create_graph: bool, mean: bool = False) -> tuple[Tensor, Tensor]:
        """Return energies and edge gradients as in `NetworkPotential`, with symmetry functions computed once for all members."""
        learnable = create_graph and self.settings.learnable
        with torch.enable_grad():
            leaf = vectors.detach().clone().requires_grad_(True)
            terms = self.functions.terms(leaf, graph)
            with torch.set_grad_enabled(learnable):
                features = terms.collect()
            every = features.expand(self.members, *features.shape)
            if not learnable:
                every = every.clone().requires_grad_(True)
            energy = self.energies(every, graph.kind) * self.energy_scale.to(vectors.dtype)
            (inner,) = torch.autograd.grad(energy.sum(), every, create_graph=create_graph)
            if mean:
                inner = inner.mean(0, keepdim=True)
            # Contraction of dE/dG with the factors of the angular functions avoids the product of the factors in the backward pass.
            slopes = [
                torch.autograd.grad(terms.contract(mine), leaf, create_graph=create_graph, retain_graph=True)[0] for mine in inner.unbind()
            ]
        return energy, torch.stack(slopes)

    def copy_species(self, target: str, source: str) -> None:
        """Copy the weights of the network of one species to that of another.

        Args:
            target, source: chemical symbols.

        Raises:
            BadInput: a symbol is not a species of the model, or the networks have different sizes.
        """
        for symbol in (target, source):
            if symbol not in self.networks:
                raise BadInput(f"the model has no network of {quoted(symbol, 20)}; its species are {', '.join(self.networks)}")
        theirs, mine = self.networks[source].state_dict(), self.networks[target].state_dict()
        if any(theirs[name].shape != mine[name].shape for name in mine):
            raise BadInput(f"the networks of {source} and {target} have different sizes; weights can only be copied between equal sizes")
        self.networks[target].load_state_dict(theirs)

    def fit_inputs(self, batch: CrystalBatch) -> None:
        """Set mean and standard deviation of the symmetry functions of each species."""
        vectors, graph = self.graph(batch, neighbour_edges(batch, self.cutoff))
        with torch.no_grad():
            features = self.functions(vectors, graph)
            for index in range(len(self.species)):
                mine = features[graph.kind == index]
                if len(mine):
                    self.feature_mean[index] = mine.mean(0)
                    # The lower bound keeps a function that hardly varies in the training data from being amplified elsewhere.
                    self.feature_std[index] = mine.std(0, unbiased=False).clamp_min(1e-2)


def _radial(s: A2ASettings) -> Radial:
    centres = s.radial_centres or _bins(s.radial_start, s.cutoff, s.radial_bins)
    return Radial(centres, s.radial_eta, s.cutoff, s.learnable)


def _angular(s: A2ASettings) -> ModifiedAngular | OriginalAngular:
    if s.functions == "original":
        return OriginalAngular(s.original_etas, s.original_zetas, s.angular_cutoff, s.learnable)
    half = math.pi / s.angle_bins / 2
    return ModifiedAngular(
        _bins(s.angular_start, s.angular_cutoff, s.angular_bins), _bins(half, math.pi + half, s.angle_bins),
        s.angular_eta, s.zeta, s.angular_cutoff, s.learnable,
    )  # fmt: skip


def _bins(start: float, end: float, count: int) -> list[float]:
    """Return `count` evenly spaced values from `start`, without `end`."""
    return [start + (end - start) * k / count for k in range(count)]
