"""Many-body committee: a common atomic basis, mixing and a small network for each member, and invariants up to four bodies.

For an atom i of species z and member m:

    A_c,lm = sum_{s,k} W[m,z]_{l,c,sk} A0_{s,k,lm}                     mixing of the shared atomic basis
    B1_c = A_c,00      B2_cl = sum_m A_c,lm^2 / sqrt(2 l + 1)               two and three bodies
    B3_c = int f_c(u)^3 du,  f_c(u) = sum_lm A_c,lm Y_lm(u)       four bodies
    E_i = scale * NN[m,z]((B - mean)/std) + shift_z + 1/2 sum_j wall(r_ij)

The output of the network is bounded, so no learned minimum is deeper than a few `scale`, and the pair wall exceeds it at short distances.
The hidden units are not bounded by default, because bounded units saturate for cells unlike the training data, where forces would vanish.
R. Drautz, Phys. Rev. B 99, 014104 (2019), doi 10.1103/PhysRevB.99.014104.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.potentials.base import LearnedModel, Prediction, check_input, weights_dtype
from nucleate.potentials.basis import DEGREES, L_MAX, N_LM, quadrature
from nucleate.potentials.edge_basis import EdgeBasis, Layout, make_layout
from nucleate.potentials.settings import ModelSettings
from nucleate.potentials.wall import wall_energy, wall_ranges

BLOCK_EDGES = 3000
"""Number of edges in a block at inference, for which the arrays of a block fit into the second-level cache of a core."""

DEEPEST = 5.0
"""Bound on the network's energy of an atom, in units of `energy_scale`."""

CHUNK_ATOMS = 300
"""Number of atoms in a chunk of the networks at inference, chosen for the same cache."""

HAS_KERNELS = find_spec("numba") is not None
"""Whether training, and predictions with mean forces, use the kernels of `potentials.fused`, which need numba."""


class ManyBodyCommittee(LearnedModel):
    """A committee of many-body potentials.

    Args:
        species: atomic numbers of the supported elements.
        settings: cutoff and sizes.
        seed: random seed of the initial weights.
        dtype: floating-point type of the weights.

    Attributes:
        energy_scale: energy unit of the network's output, eV.
        energy_shift: (n_species,) energy of an atom that is added to the network's output, eV.
    """

    family = "manybody"
    by_species = True

    # Buffers are declared here for the type checker.
    feature_mean: Tensor
    feature_std: Tensor
    energy_scale: Tensor
    energy_shift: Tensor
    points: Tensor
    degree_sums: Tensor
    species_index: Tensor
    wall_reach: Tensor

    @classmethod
    def in_dtype(cls, species: tuple[int, ...], settings: ModelSettings, seed: int, dtype: torch.dtype) -> Self:
        """Return a model with random weights in `dtype`."""
        return cls(species, settings, seed, dtype)

    @classmethod
    def for_tensors(cls, species: tuple[int, ...], settings: Any, tensors: Mapping[str, Tensor], where: str) -> Self:
        """See `LearnedModel`."""
        return cls.in_dtype(species, settings, 0, weights_dtype(tensors, where))

    def __init__(
        self,
        species: tuple[int, ...],
        settings: ModelSettings | None = None,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.settings: ModelSettings = settings or ModelSettings()
        self.species = tuple(sorted(species))
        self.cutoff = self.settings.cutoff
        self.dtype = dtype
        s, m, c, h = len(self.species), self.settings.members, self.settings.channels, self.settings.hidden
        inputs = s * self.settings.radial
        self.n_features = c * (1 + (L_MAX + 1) + 1)
        draw = torch.Generator().manual_seed(seed)

        def normal(*shape: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype) * std)

        self.mixing = normal(s, L_MAX + 1, m, inputs, c, std=1 / math.sqrt(inputs))
        self.weight1 = normal(s, m, self.n_features, h, std=1 / math.sqrt(self.n_features))
        self.bias1 = normal(s, m, 1, h, std=0.1)
        self.weight2 = normal(s, m, h, h, std=1 / math.sqrt(h))
        self.bias2 = normal(s, m, 1, h, std=0.1)
        self.weight3 = normal(s, m, h, 1, std=0.3 / math.sqrt(h))
        self.bias3 = normal(s, m, 1, 1, std=0.0)
        points, weights = quadrature()
        index = torch.full((120,), -1, dtype=torch.int64)
        index[torch.tensor(self.species)] = torch.arange(s)
        sums = torch.zeros(L_MAX + 1, N_LM)
        for lm, degree in enumerate(DEGREES):
            sums[degree, lm] = 1.0 / math.sqrt(2 * degree + 1)
        for name, value in {
            "feature_mean": torch.zeros(s, m, 1, self.n_features),
            "feature_std": torch.ones(s, m, 1, self.n_features),
            "energy_scale": torch.ones(()),
            "energy_shift": torch.zeros(s),
            # The points include the cube root of the weights, so that the sum of f^3 over the points is the integral.
            "points": torch.as_tensor(points * np.cbrt(weights)[:, None]),
            "degree_sums": sums,
        }.items():
            self.register_buffer(name, value.to(dtype))
        self.energy_shift = self.energy_shift.double()
        self.register_buffer("species_index", index)
        self.register_buffer("wall_reach", wall_ranges(self.species, self.settings.wall_fraction).to(dtype))

    @property
    def members(self) -> int:
        """Number of committee members."""
        return self.settings.members

    # -- geometry, common to all members ---------------------------------------------------------------------

    def layout(self, batch: CrystalBatch, edges: Edges, block_edges: int = BLOCK_EDGES) -> Layout:
        """Return the layout of the edges, which is valid while the list of pairs is the same."""
        return make_layout(batch, edges, self.species_index, len(self.species), block_edges)

    def edge_basis(self, vectors: Tensor, layout: Layout) -> EdgeBasis:
        """Return the atomic basis of all atoms, which the members share."""
        return EdgeBasis.compute(layout, vectors, self.settings.radial, self.cutoff)

    def wall(self, batch: CrystalBatch, edges: Edges, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energy (n_structures,), forces (n_atoms, 3) and strain derivative (n_structures, 3, 3) of the pair wall."""
        distance = vectors.norm(dim=-1)
        n = len(batch)
        energy = distance.new_zeros(n)
        forces = vectors.new_zeros(len(batch.numbers), 3)
        virial = vectors.new_zeros(n, 3, 3)
        near = (distance < self.wall_reach.max()).nonzero().flatten()
        if len(near) == 0 or self.settings.wall_strength == 0:
            return energy, forces, virial
        centre, neighbour = edges.centre[near], edges.neighbour[near]
        z_i, z_j = batch.numbers[centre], batch.numbers[neighbour]
        reach = self.wall_reach[self.species_index[z_i], self.species_index[z_j]]
        r = distance[near].clamp_min(1e-2)
        pair, slope = wall_energy(r, z_i, z_j, reach, self.settings.wall_strength)
        gradient = 0.5 * slope.unsqueeze(-1) * vectors[near] / r.unsqueeze(-1)
        structure = batch.structure[centre]
        energy.index_add_(0, structure, 0.5 * pair)
        forces.index_add_(0, centre, gradient).index_add_(0, neighbour, -gradient)
        virial.index_add_(0, structure, gradient.unsqueeze(2) * vectors[near].unsqueeze(1))
        return energy, forces, virial

    # -- networks of the members -----------------------------------------------------------------------------

    def features(self, atomic: Tensor, species: int) -> Tensor:
        """Return the invariants of atoms of one species.

        Args:
            atomic: (m or 1, n, n_species, 16, k) atomic basis of these atoms.
            species: index of their species.

        Returns:
            (m, n, n_features) invariants, not standardised.
        """
        first, n = atomic.shape[:2]
        flat = atomic.permute(0, 1, 3, 2, 4).reshape(first, n, N_LM, -1)
        mixed = []
        start = 0
        for degree in range(L_MAX + 1):
            width = 2 * degree + 1
            block = flat[:, :, start : start + width].reshape(first, n * width, -1)
            mixed.append((block @ self.mixing[species, degree]).view(-1, n, width, self.settings.channels))
            start += width
        a = torch.cat(mixed, dim=2)
        power = self.degree_sums @ (a * a)
        f = self.points @ a
        return torch.cat([a[:, :, 0], power.flatten(2), f.pow(3).sum(2)], dim=-1)

    def hidden(self, features: Tensor, species: int) -> Tensor:
        """Return the (m, n, hidden) output of the last hidden layer."""
        x = (features - self.feature_mean[species]) / self.feature_std[species]
        activation = torch.tanh if self.settings.activation == "tanh" else nn.functional.silu
        x = activation(torch.baddbmm(self.bias1[species], x, self.weight1[species]))
        return activation(torch.baddbmm(self.bias2[species], x, self.weight2[species]))

    def output(self, basis: Tensor, species: int) -> Tensor:
        """Return the (m, n) output of the network for atoms of one species."""
        return self.from_features(self.features(basis, species), species)

    def from_features(self, features: Tensor, species: int) -> Tensor:
        """Return the (m, n) output of the network for the (m, n, n_features) invariants of atoms of one species."""
        hidden = self.hidden(features, species)
        output = torch.baddbmm(self.bias3[species], hidden, self.weight3[species]).squeeze(-1)
        return output if self.settings.activation == "tanh" else DEEPEST * torch.tanh(output / DEEPEST)

    def atomic_energies(self, basis: Tensor, numbers: Tensor) -> Tensor:
        """Return the energies of the network in units of `energy_scale`, without shifts and wall.

        Args:
            basis: (m or 1, n_atoms, n_species, 16, k) atomic basis.
            numbers: (n_atoms,) atomic numbers.

        Returns:
            (m, n_atoms) energies.
        """
        kind = self.species_index[numbers]
        if len(self.species) == 1:
            return self.output(basis, 0)
        parts, where = [], []
        for species in range(len(self.species)):
            chosen = (kind == species).nonzero().flatten()
            if len(chosen):
                parts.append(self.output(basis[:, chosen], species))
                where.append(chosen)
        order = torch.argsort(torch.cat(where))
        return torch.cat(parts, dim=1)[:, order]

    def energy_gradient(self, basis: EdgeBasis, numbers: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        """Return atomic energies (m, n_atoms) without shifts and dE/dA_0 (m, n_rows, 16, k), both in eV."""
        m, s, n = self.settings.members, len(self.species), len(numbers)
        atomic = basis.atomic.view(1, n, s, N_LM, self.settings.radial)
        # Without a graph, atoms are evaluated in chunks whose arrays fit into the cache, because memory bandwidth limits the speed.
        step = n if create_graph or atomic.is_cuda else CHUNK_ATOMS
        energies, gradients = [], []
        for first in range(0, n, step):
            part = atomic[:, first : first + step]
            with torch.enable_grad():
                leaf = part.expand(m, *part.shape[1:]).requires_grad_(True)
                energy = self.atomic_energies(leaf, numbers[first : first + step]) * self.energy_scale
                (gradient,) = torch.autograd.grad(energy.sum(), leaf, create_graph=create_graph)
            energies.append(energy if create_graph else energy.detach())
            gradients.append(gradient)
        return torch.cat(energies, 1), torch.cat(gradients, 1).view(m, -1, N_LM, self.settings.radial)

    def mean_atomic_energies(self, batch: CrystalBatch, edges: Edges) -> Tensor:
        """Return the (n_atoms,) committee mean of the atomic energies without the pair wall, eV."""
        with torch.no_grad():
            basis = self.edge_basis(edges.vectors(batch).to(self.dtype), self.layout(batch, edges))
            energy, _ = self.energy_gradient(basis, batch.numbers, create_graph=False)
        return energy.detach().double().mean(0) + self.energy_shift[self.species_index[batch.numbers]]

    def latent(self, batch: CrystalBatch) -> Tensor:
        """Return the (n_atoms, m * hidden) outputs of the last hidden layer of all members.

        Raises:
            BadInput: the batch contains an element that the potential does not support.
        """
        check_input(self.species, self.cutoff, batch, None)
        edges = neighbour_edges(batch, self.cutoff)
        with torch.no_grad():
            basis = self.edge_basis(edges.vectors(batch).to(self.dtype), self.layout(batch, edges))
            atomic = basis.atomic.view(1, len(batch.numbers), len(self.species), N_LM, self.settings.radial)
            kind = self.species_index[batch.numbers]
            result = atomic.new_zeros(len(kind), self.members, self.settings.hidden)
            for species in kind.unique().tolist():
                chosen = (kind == species).nonzero().flatten()
                result[chosen] = self.hidden(self.features(atomic[:, chosen], species), species).transpose(0, 1)
        return result.flatten(1)

    def shifts(self, batch: CrystalBatch) -> Tensor:
        """Return the (n_structures,) sum of the energy shifts of the atoms, eV, float64."""
        per_atom = self.energy_shift[self.species_index[batch.numbers]]
        return per_atom.new_zeros(len(batch)).index_add_(0, batch.structure, per_atom)

    def energy_forces_stress(
        self,
        batch: CrystalBatch,
        edges: Edges | None = None,
        layout: Layout | None = None,
        mean_forces: bool = False,
        create_graph: bool = False,
    ) -> Prediction:
        """Predict energies, forces and stresses of every member; see `Potential`.

        Args:
            batch: the structures.
            edges: neighbour list; None computes it.
            layout: result of `layout` for these edges; None computes it.
            mean_forces: whether to return forces and stress only as the mean over the committee, with a committee axis of length one.
                They are linear in dE/dA_0, so the conversion to edges then costs as much as for one member.
            create_graph: whether to keep the graph for derivatives with respect to the weights.
        """
        check_input(self.species, self.cutoff, batch, edges)
        if edges is None:
            edges = neighbour_edges(batch, self.cutoff)
        single_on_cpu = self.dtype == torch.float32 and self.energy_scale.device.type == "cpu"
        if HAS_KERNELS and single_on_cpu and (mean_forces or create_graph):
            # numba is imported only here, because that takes a quarter of a second.
            if create_graph:
                from nucleate.potentials.fused.graph import graph_prediction

                return graph_prediction(self, batch, edges)
            from nucleate.potentials.fused.committee import mean_prediction

            return mean_prediction(self, batch, edges, DEEPEST)
        if layout is None:
            layout = self.layout(batch, edges)
        with torch.no_grad():
            vectors = edges.vectors(batch).to(self.dtype)
            basis = self.edge_basis(vectors, layout)
        with torch.set_grad_enabled(create_graph):
            atomic, gradient = self.energy_gradient(basis, batch.numbers, create_graph=create_graph)
            if mean_forces:
                gradient = gradient.mean(0, keepdim=True)
            forces, virial = basis.forces_and_virial(gradient, batch, edges, vectors)
            energy = atomic.new_zeros(atomic.shape[0], len(batch)).index_add(1, batch.structure, atomic)
            wall_e, wall_f, wall_w = self.wall(batch, edges, vectors)
            stress = (virial + wall_w) / batch.volumes.to(self.dtype).view(-1, 1, 1)
            return Prediction(
                energy.double() + wall_e.double() + self.shifts(batch),
                forces + wall_f,
                0.5 * (stress + stress.transpose(-1, -2)),
            )

    def fit_inputs(self, batch: CrystalBatch) -> None:
        """Set mean and standard deviation of each member's features from the atoms of these structures."""
        with torch.no_grad():
            edges = neighbour_edges(batch, self.cutoff)
            basis = self.edge_basis(edges.vectors(batch).to(self.dtype), self.layout(batch, edges, block_edges=6000))
            atomic = basis.atomic.view(1, len(batch.numbers), len(self.species), *basis.atomic.shape[1:])
            for index, z in enumerate(self.species):
                chosen = (batch.numbers == z).nonzero().flatten()
                if len(chosen) == 0:
                    continue
                features = self.features(atomic[:, chosen], index)
                # Features are clipped to quantiles first, so that strongly compressed cells do not determine the scale.
                low, high = torch.quantile(features, 0.02, dim=1, keepdim=True), torch.quantile(features, 0.98, dim=1, keepdim=True)
                features = features.clamp(low, high)
                self.feature_mean[index] = features.mean(1, keepdim=True)
                self.feature_std[index] = features.std(1, keepdim=True, unbiased=False).clamp_min(1e-4)
