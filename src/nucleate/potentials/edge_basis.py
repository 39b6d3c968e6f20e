"""Atomic basis of a batch and its derivatives, computed once for all members.

Rows are pairs (centre atom, neighbour species). They are sorted by their number of neighbours and divided into blocks, so that every block
is a dense array with little padding that fits into the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.potentials.basis import DEGREES, N_LM, harmonics, radial, solid_gradient

Blocks = list[tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Layout:
    """Position of each edge in dense blocks; it depends only on the list of pairs.

    Attributes:
        make: function that makes the blocks, which is called when they are first used.
        n_rows: number of atoms times number of species.
    """

    make: Callable[[], Blocks]
    n_rows: int

    @cached_property
    def blocks(self) -> Blocks:
        """(rows, slots, padding) of each block.

        These are (n_rows,) row indices, (n_rows, width) edge indices, and a (n_rows, width) mask of slots without an edge.
        """
        return self.make()


def make_layout(batch: CrystalBatch, edges: Edges, species_index: Tensor, n_species: int, block_edges: int) -> Layout:
    """Sort edges into rows and rows into blocks of about `block_edges` edges."""
    n_rows = len(batch.numbers) * n_species
    return Layout(partial(_make_blocks, batch.numbers, edges, species_index, n_species, n_rows, block_edges), n_rows)


def _make_blocks(numbers: Tensor, edges: Edges, species_index: Tensor, n_species: int, n_rows: int, block_edges: int) -> Blocks:
    """Return the blocks of a layout."""
    device = edges.centre.device
    row = edges.centre * n_species + species_index[numbers[edges.neighbour]]
    order = torch.argsort(row, stable=True) if n_species > 1 else torch.arange(len(row), device=device)
    counts = torch.bincount(row, minlength=n_rows)
    starts = torch.cumsum(counts, 0) - counts
    by_size = torch.argsort(counts, descending=True, stable=True)
    sizes = counts[by_size].tolist()
    blocks = []
    first = 0
    while first < n_rows and sizes[first] > 0:
        width = sizes[first]
        last = min(n_rows, first + max(1, block_edges // width))
        rows = by_size[first:last]
        slots = starts[rows].unsqueeze(1) + torch.arange(width, device=device)
        padding = torch.arange(width, device=device) >= counts[rows].unsqueeze(1)
        slots = order[slots.clamp_max(len(row) - 1)]
        blocks.append((rows, slots, padding))
        first = last
    return blocks


@dataclass(frozen=True)
class BlockGeometry:
    """Radial functions and harmonics of the edges of one block; radial functions of padded slots are zero.

    Attributes:
        unit: (n_rows, 3, width) unit vectors.
        slope: (n_rows, k, width) derivatives dR/dr.
        over: (n_rows, k, width) quotients R/r.
        harmonic: (n_rows, 16, width) spherical harmonics.
    """

    unit: Tensor
    slope: Tensor
    over: Tensor
    harmonic: Tensor


@dataclass(frozen=True)
class EdgeBasis:
    """The atomic basis A_0 of a batch, with the geometry that is needed to convert its gradient to edge gradients.

    Attributes:
        layout: rows and blocks.
        geometry: geometry of each block.
        atomic: (n_rows, 16, k) atomic basis A_0.
    """

    layout: Layout
    geometry: list[BlockGeometry]
    atomic: Tensor

    @classmethod
    def compute(cls, layout: Layout, vectors: Tensor, n_radial: int, cutoff: float) -> EdgeBasis:
        """Compute the basis from edge vectors (n_edges, 3), Å."""
        distance = vectors.norm(dim=-1).clamp_min(1e-3)
        unit = vectors / distance.unsqueeze(-1)
        atomic = vectors.new_zeros(layout.n_rows, N_LM, n_radial)
        geometry = []
        for rows, slots, padding in layout.blocks:
            flat = slots.flatten()
            # Padded slots get a distance beyond the cutoff, where every radial function is zero.
            r = distance.index_select(0, flat).view(slots.shape).masked_fill(padding, 2 * cutoff)
            u = unit.index_select(0, flat).view(*slots.shape, 3).transpose(1, 2).contiguous()
            value, slope = radial(r, n_radial, cutoff)
            y = harmonics(u)
            atomic[rows] = torch.bmm(y, value.transpose(1, 2))
            geometry.append(BlockGeometry(u, slope, value / r.unsqueeze(1), y))
        return cls(layout, geometry, atomic)

    def edge_gradients(self, gradient: Tensor) -> list[Tensor]:
        """Convert dE/dA_0 to gradients of the edges for all members; linear in `gradient`, so it can be differentiated again.

        Args:
            gradient: (m, n_rows, 16, k) dE/dA_0, eV.

        Returns:
            dE/dr_edge of each block, (n_rows, m * 3, width), eV/Å.
        """
        members, _, _, n_radial = gradient.shape
        table = torch.as_tensor(solid_gradient(), dtype=gradient.dtype, device=gradient.device)
        degree = torch.tensor(DEGREES, dtype=gradient.dtype, device=gradient.device)
        # The angular derivative is applied to the coefficients of the atoms rather than to the edges (rows x, y, z and -l).
        operator = torch.cat([table.transpose(1, 2), -torch.diag(degree).unsqueeze(0)])
        result = []
        for (rows, slots, _), geometry in zip(self.layout.blocks, self.geometry, strict=True):
            chosen = gradient[:, rows]
            n, width = slots.shape
            angular = torch.einsum("apl,mrlk->rampk", operator, chosen).reshape(n, 4 * members, N_LM * n_radial)
            plain = chosen.transpose(0, 1).reshape(n, members, N_LM * n_radial)
            harmonic = geometry.harmonic.unsqueeze(2)
            tangential = (harmonic * geometry.over.unsqueeze(1)).view(n, N_LM * n_radial, width)
            along = (harmonic * geometry.slope.unsqueeze(1)).view(n, N_LM * n_radial, width)
            parts = torch.bmm(angular, tangential).view(n, 4, members, width)
            radial_part = torch.bmm(plain, along) + parts[:, 3]
            pulled = torch.addcmul(parts[:, :3].transpose(1, 2), radial_part.unsqueeze(2), geometry.unit.unsqueeze(1))
            result.append(pulled.reshape(n, members * 3, width))
        return result

    def forces_and_virial(self, gradient: Tensor, batch: CrystalBatch, edges: Edges, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Compute forces and strain derivatives from dE/dA_0.

        Args:
            gradient: (m, n_rows, 16, k) dE/dA_0, eV.
            batch, edges, vectors: structures, pairs and edge vectors of the basis.

        Returns:
            Forces (m, n_atoms, 3) in eV/Å and strain derivatives (m, n_structures, 3, 3) in eV.
        """
        m, n_atoms = gradient.shape[0], len(batch.numbers)
        s = self.layout.n_rows // max(n_atoms, 1)
        forces = vectors.new_zeros(n_atoms, m * 3)
        virial = vectors.new_zeros(n_atoms, 3 * m * 3)
        for (rows, slots, _), pulled in zip(self.layout.blocks, self.edge_gradients(gradient), strict=True):
            n, width = slots.shape
            flat = slots.flatten()
            centre = rows // s if s > 1 else rows
            forces = forces.index_add(0, centre, pulled.sum(2))
            by_edge = pulled.transpose(1, 2).reshape(-1, m * 3)
            forces = forces.index_add(0, edges.neighbour.index_select(0, flat), by_edge, alpha=-1)
            arms = vectors.index_select(0, flat).view(n, width, 3)
            virial = virial.index_add(0, centre, torch.bmm(pulled, arms).view(n, -1))
        per_structure = vectors.new_zeros(len(batch), 9 * m).index_add(0, batch.structure, virial)
        return (
            forces.view(n_atoms, m, 3).transpose(0, 1),
            per_structure.view(len(batch), m, 3, 3).transpose(0, 1),
        )
