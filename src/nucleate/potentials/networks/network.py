"""Base class of the network potentials: species, scale and shifts, pair wall, forces and stress from edge vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.potentials.base import LearnedModel, Prediction, check_input, weights_dtype
from nucleate.potentials.networks.settings import NetworkSettings
from nucleate.potentials.wall import wall_energy, wall_ranges


@dataclass(frozen=True)
class Graph:
    """Atoms of a batch and the pairs within the cutoff.

    Attributes:
        kind: (n_atoms,) index of each atom's species.
        centre, neighbour: (n_edges,) atom indices, ascending in `centre`.
    """

    kind: Tensor
    centre: Tensor
    neighbour: Tensor

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the batch."""
        return len(self.kind)


class NetworkPotential(LearnedModel, ABC):
    """A committee of neural networks as a `Potential`; a family implements `atomic_energies`.

    Args:
        species: atomic numbers of the supported elements.
        cutoff: cutoff radius, Å.
        members: number of committee members.
        wall_fraction, wall_strength: parameters of the pair wall, see `wall`; strength 0 means no wall.

    Attributes:
        energy_scale: energy unit of the network's output, eV.
        energy_shift: (n_species,) energy of an atom that is added to the network's output, eV.
    """

    energy_scale: Tensor
    energy_shift: Tensor
    species_index: Tensor
    wall_reach: Tensor
    settings: NetworkSettings

    def __init__(self, species: tuple[int, ...], cutoff: float, members: int, wall_fraction: float = 0.8, wall_strength: float = 4.0):
        super().__init__()
        self.species = tuple(sorted(species))
        self.cutoff = cutoff
        self.members = members
        self.wall_strength = wall_strength
        index = torch.full((120,), -1, dtype=torch.int64)
        index[torch.tensor(self.species)] = torch.arange(len(self.species))
        self.register_buffer("species_index", index)
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("energy_shift", torch.zeros(len(self.species), dtype=torch.float64))
        self.register_buffer("wall_reach", wall_ranges(self.species, wall_fraction))

    @abstractmethod
    def atomic_energies(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return the energies of atoms in units of `energy_scale`.

        Args:
            vectors: (m, n_edges, 3) vectors from centre to neighbour, Å; the same for all members.
            graph: atoms and pairs.

        Returns:
            (m, n_atoms) energies.
        """

    @classmethod
    def in_dtype(cls, species: tuple[int, ...], settings: NetworkSettings, seed: int, dtype: torch.dtype) -> Self:
        """Return a model with random weights in `dtype`."""
        return cls(species, settings, seed).in_precision(dtype)  # type: ignore[arg-type]

    @classmethod
    def for_tensors(cls, species: tuple[int, ...], settings: Any, tensors: Mapping[str, Tensor], where: str) -> Self:
        """See `LearnedModel`."""
        return cls.in_dtype(species, settings, 0, weights_dtype(tensors, where))

    def in_precision(self, dtype: torch.dtype) -> Self:
        """Convert the weights to `dtype` and return the model; the energy shifts keep double precision."""
        self.to(dtype)
        self.energy_shift = self.energy_shift.double()
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return next(self.parameters()).dtype

    def graph(self, batch: CrystalBatch, edges: Edges) -> tuple[Tensor, Graph]:
        """Return the (n_edges, 3) vectors of the pairs within the cutoff (Å), and their graph."""
        vectors = edges.vectors(batch)
        near = (vectors.norm(dim=1) < self.cutoff).nonzero().flatten()
        kind = self.species_index[batch.numbers]
        return vectors[near].to(self.dtype), Graph(kind, edges.centre[near], edges.neighbour[near])

    def energy_and_slope(self, vectors: Tensor, graph: Graph, create_graph: bool, mean: bool = False) -> tuple[Tensor, Tensor]:
        """Return energies of atoms (m, n_atoms) in eV and dE/dvector (m, n_edges, 3) in eV/Å, without shifts and wall.

        With `mean` the gradient is the mean over the members, (1, n_edges, 3).
        """
        copies = 1 if mean else self.members
        with torch.enable_grad():
            leaf = vectors.detach().expand(copies, *vectors.shape).clone().requires_grad_(True)
            energy = self.atomic_energies(leaf.expand(self.members, *vectors.shape), graph) * self.energy_scale.to(self.dtype)
            (slope,) = torch.autograd.grad(energy.sum() / (self.members if mean else 1), leaf, create_graph=create_graph, allow_unused=True)
        return energy, torch.zeros_like(leaf) if slope is None else slope

    def mean_atomic_energies(self, batch: CrystalBatch, edges: Edges) -> Tensor:
        """Return the (n_atoms,) committee mean of the atomic energies without the pair wall, eV."""
        energy, _ = self.energy_and_slope(*self.graph(batch, edges), create_graph=False)
        return energy.detach().double().mean(0) + self.energy_shift[self.species_index[batch.numbers]]

    def shifts(self, batch: CrystalBatch) -> Tensor:
        """Return the (n_structures,) sum of the energy shifts of the atoms, eV, float64."""
        per_atom = self.energy_shift[self.species_index[batch.numbers]]
        return per_atom.new_zeros(len(batch)).index_add_(0, batch.structure, per_atom)

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False, create_graph: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses of every member; see `Potential`.

        Args:
            batch: the structures.
            edges: neighbour list; None computes it.
            layout: not used.
            mean_forces: whether to return forces and stress only as the mean over the committee, with a committee axis of length one.
            create_graph: whether to keep the graph for derivatives with respect to the weights.
        """
        check_input(self.species, self.cutoff, batch, edges)
        vectors, graph = self.graph(batch, neighbour_edges(batch, self.cutoff) if edges is None else edges)
        atomic, slope = self.energy_and_slope(vectors, graph, create_graph, mean_forces)
        if not create_graph:
            atomic, slope = atomic.detach(), slope.detach()
        wall_energies, wall_slope = self._wall(vectors, batch.numbers, graph)
        slope = slope + wall_slope
        m, n = len(slope), len(batch)
        forces = slope.new_zeros(m, graph.n_atoms, 3).index_add(1, graph.centre, slope).index_add(1, graph.neighbour, slope, alpha=-1)
        outer = slope.unsqueeze(-1) * vectors.unsqueeze(-2)
        virial = slope.new_zeros(m, n, 3, 3).index_add(1, batch.structure[graph.centre], outer)
        stress = virial / batch.volumes.to(slope.dtype).view(-1, 1, 1)
        energy = atomic.double().new_zeros(self.members, n).index_add(1, batch.structure, atomic.double())
        wall = wall_energies.double().new_zeros(n).index_add(0, batch.structure[graph.centre], wall_energies.double())
        return Prediction(energy + wall + self.shifts(batch), forces, 0.5 * (stress + stress.transpose(-1, -2)))

    def _wall(self, vectors: Tensor, numbers: Tensor, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return half the pair energy (n_edges,) of the wall and its gradient (n_edges, 3)."""
        if self.wall_strength == 0 or not len(vectors):
            return vectors.new_zeros(len(vectors)), torch.zeros_like(vectors)
        distance = vectors.norm(dim=1).clamp_min(1e-2)
        reach = self.wall_reach.to(vectors.dtype)[graph.kind[graph.centre], graph.kind[graph.neighbour]]
        pair, slope = wall_energy(distance, numbers[graph.centre], numbers[graph.neighbour], reach, self.wall_strength)
        return 0.5 * pair, 0.5 * (slope / distance).unsqueeze(1) * vectors
