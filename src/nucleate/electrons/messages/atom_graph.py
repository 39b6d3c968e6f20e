"""Atoms and their neighbours, between which messages are passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges


@dataclass(frozen=True)
class AtomGraph:
    """Directed edges between the atoms of one or several structures, ascending in `centre`.

    Attributes:
        species: (n_atoms,) species index of each atom.
        centre, neighbour: (n_edges,) indices of atoms.
        vectors: (n_edges, 3) vectors from centre to neighbour in Å.
    """

    species: Tensor
    centre: Tensor
    neighbour: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, atoms: Atoms, species: Tensor, positions: Tensor, cell: Tensor, cutoff: float) -> AtomGraph:
        """Build from a structure; the vectors are differentiable in positions and cell.

        Args:
            atoms: Periodic structure.
            species: (n_atoms,) species index of each atom.
            positions: (n_atoms, 3) its positions in Å, float64.
            cell: (3, 3) its lattice vectors in Å, float64.
            cutoff: Largest length of an edge in Å.
        """
        edges = neighbour_edges(CrystalBatch.from_atoms([atoms]), cutoff)
        vectors = positions[edges.neighbour] - positions[edges.centre] + edges.shift.to(positions) @ cell
        return cls(species, edges.centre, edges.neighbour, vectors)

    @classmethod
    def together(cls, graphs: Sequence[AtomGraph]) -> AtomGraph:
        """Return several structures as one graph; the atoms follow one another."""
        offsets = torch.cumsum(torch.tensor([0, *(len(graph.species) for graph in graphs[:-1])]), 0).tolist()
        return cls(
            torch.cat([graph.species for graph in graphs]),
            torch.cat([graph.centre + first for graph, first in zip(graphs, offsets, strict=True)]),
            torch.cat([graph.neighbour + first for graph, first in zip(graphs, offsets, strict=True)]),
            torch.cat([graph.vectors for graph in graphs]),
        )

    def chunks(self, most: int) -> list[tuple[int, int, int, int]]:
        """Divide the centres into ranges of at most `most` atoms; return first and last atom, first and last edge of each."""
        ends = [*range(0, len(self.species), most), len(self.species)]
        edges = torch.searchsorted(self.centre, torch.tensor(ends)).tolist()
        return [(ends[k], ends[k + 1], edges[k], edges[k + 1]) for k in range(len(ends) - 1)]
