"""Periodic neighbour lists by vesin, reused during a relaxation with a skin.

Every periodic image within the cutoff is a neighbour (there is no minimum-image convention), so cells smaller than the cutoff are treated
correctly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor
from vesin import NeighborList

from nucleate.crystals.batch import CrystalBatch, ragged_arange
from nucleate.errors import BadInput


@dataclass(frozen=True)
class Edges:
    """Directed edges of a neighbour list (each pair twice), ascending in `centre`.

    Attributes:
        centre: (n_edges,) atom index in the batch.
        neighbour: (n_edges,) atom index in the batch.
        shift: (n_edges, 3) whole lattice translations of the neighbour, float.
        reach: every pair within this distance is listed, Å.
    """

    centre: Tensor
    neighbour: Tensor
    shift: Tensor
    reach: float = math.inf

    def vectors(self, batch: CrystalBatch) -> Tensor:
        """(n_edges, 3) vectors from centre to neighbour image, Å."""
        cells = batch.cells.index_select(0, batch.structure.index_select(0, self.centre))
        positions = batch.positions
        apart = positions.index_select(0, self.neighbour) - positions.index_select(0, self.centre)
        # baddbmm fuses the product of shift and cell with the addition, which saves one pass over all edges.
        return torch.baddbmm(apart.unsqueeze(1), self.shift.to(apart.dtype).unsqueeze(1), cells).squeeze(1)


HAS_KERNELS = find_spec("numba") is not None
"""Whether the pairs of small cells are found by the kernel of `neighbour_kernel`, which needs numba."""
MOST_IN_KERNEL = 100
"""Largest number of atoms of such a cell; the time of the kernel is proportional to its square."""
MOST_IMAGES = 1e8
"""Largest number of atom images within the cutoff of a cell; strongly sheared or flat cells exceed it."""


def _pairs(positions: np.ndarray, cell: np.ndarray, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centre, neighbour and shift of all directed pairs of one structure."""
    inverse = np.linalg.inv(cell)
    images = len(positions) * np.prod(2 * np.ceil(cutoff * np.linalg.norm(inverse, axis=0)) + 1)
    if not images < MOST_IMAGES:
        raise BadInput(f"the cell of {abs(np.linalg.det(cell)):.3g} Å³ is too flat: it has {images:.2g} atom images within {cutoff:g} Å")
    if HAS_KERNELS and len(positions) <= MOST_IN_KERNEL:
        return _pairs_by_kernel(positions, cell, inverse, cutoff)
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, shift = finder.compute(points=positions, box=cell, periodic=True, quantities="ijS")
    return i.astype(np.int64), j.astype(np.int64), shift.astype(np.float64)


def _pairs_by_kernel(
    positions: np.ndarray, cell: np.ndarray, inverse: np.ndarray, cutoff: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the same as `_pairs`, by the kernel for small cells."""
    # numba is imported only here, because that takes a quarter of a second.
    from nucleate.crystals.neighbour_kernel import find_pairs

    # First guess: the pairs of atoms with the mean density, and a third more.
    n = len(positions)
    most = int(1.3 * n * n * abs(np.linalg.det(inverse)) * 4 / 3 * math.pi * cutoff**3) + 8 * n
    while True:
        centre, neighbour, shift = np.empty(most, np.int64), np.empty(most, np.int64), np.empty((most, 3))
        count = find_pairs(np.ascontiguousarray(positions), np.ascontiguousarray(cell), inverse, cutoff, centre, neighbour, shift)
        if count <= most:
            return centre[:count], neighbour[:count], shift[:count]
        most = count


_List = tuple[Tensor, Tensor, Tensor]


def _alone(positions: Tensor, cells: Tensor, structure: Tensor, cutoff: float) -> Tensor:
    """Return (n_structures,) flags of structures whose atoms are beyond the cutoff of all images, such as molecules in large cells."""
    inverse = torch.linalg.inv(cells)
    heights = 1 / inverse.norm(dim=1)
    fractional = (positions.unsqueeze(1) @ inverse.index_select(0, structure)).squeeze(1)
    index = structure.unsqueeze(1).expand_as(fractional)
    high = torch.full_like(heights, -torch.inf).scatter_reduce(0, index, fractional, "amax")
    low = torch.full_like(heights, torch.inf).scatter_reduce(0, index, fractional, "amin")
    result: Tensor = ((1 - (high - low)) * heights >= cutoff).all(dim=1)
    return result


def _all_pairs(positions: Tensor, starts: Tensor, counts: Tensor, which: Tensor, cutoff: float) -> dict[int, _List]:
    """Return the neighbour lists of the structures `which`, computed together from the distances of all their pairs."""
    if not len(which):
        return {}
    n = counts[which]
    atoms = ragged_arange(starts[which], n)
    own = torch.repeat_interleave(torch.arange(len(which)), n)
    one = torch.repeat_interleave(atoms, n[own])
    two = ragged_arange(starts[which][own], n[own])
    near = ((positions[one] - positions[two]).norm(dim=1) < cutoff) & (one != two)
    one, two = one[near], two[near]
    pairs = torch.bincount(torch.repeat_interleave(own, n[own])[near], minlength=len(which)).tolist()
    parts = zip(which.tolist(), one.split(pairs), two.split(pairs), strict=True)
    return {k: (i - starts[k], j - starts[k], torch.zeros(len(i), 3, dtype=torch.float64)) for k, i, j in parts}


def neighbour_edges(batch: CrystalBatch, cutoff: float) -> Edges:
    """Find all pairs within `cutoff` (Å) in every structure of a batch."""
    return SkinNeighbours(cutoff, skin=0.0).update(batch)


class SkinNeighbours:
    """Neighbour list with a skin, rebuilt only for structures that have changed too much.

    A pair that was further apart than `cutoff + skin` when the list was built is still beyond `cutoff` as long as
    `(cutoff + skin) * s - 2 u >= cutoff`, where s is the smallest singular value of the deformation since then and u the largest
    displacement in addition to that deformation. The bound is rigorous for strained cells.

    Args:
        cutoff: pairs closer than this are always listed, Å.
        skin: distance beyond the cutoff up to which pairs are listed as well, Å.
    """

    def __init__(self, cutoff: float, skin: float = 0.4):
        self.cutoff = cutoff
        self.skin = skin
        self.builds = 0
        self._lists: list[_List | None] = []
        self._positions = torch.zeros(0, 3)
        self._cells = torch.zeros(0, 3, 3)
        self._edges: Edges | None = None

    def reset(self) -> None:
        """Discard the list; to be called before an unrelated batch is used."""
        self._lists = []
        self._edges = None

    def keep(self, chosen: Tensor, batch: CrystalBatch, added: int) -> None:
        """Adapt the list to a changed batch: structures `chosen` of the old one, followed by `added` new ones.

        Args:
            chosen: int64 indices into the old batch, ascending.
            batch: the old batch.
            added: number of structures appended after them.
        """
        if len(self._lists) != len(batch):
            self.reset()
            return
        # Structures appended since the last update have no reference geometry yet; they are at the end of the batch.
        known, atoms = self._cells.shape[0], self._positions.shape[0]
        old = CrystalBatch(self._positions, self._cells, batch.numbers[:atoms].cpu(), batch.structure[:atoms].cpu())
        kept = old.select(chosen[chosen < known].cpu())
        self._positions, self._cells = kept.positions, kept.cells
        self._lists = [self._lists[k] for k in chosen.tolist()] + [None] * added
        self._edges = None

    def update(self, batch: CrystalBatch) -> Edges:
        """Return edges with all pairs within the cutoff, and some of the pairs between `cutoff` and `cutoff + skin`."""
        positions = batch.positions.detach().double().cpu()
        cells = batch.cells.detach().double().cpu()
        structure = batch.structure.cpu()
        count = len(batch)
        if len(self._lists) != count:
            self._lists = [None] * count
            self._positions, self._cells, self._edges = positions[:0], cells[:0], None
        known = self._cells.shape[0]
        stale = torch.ones(count, dtype=torch.bool)
        if known and self.skin > 0:
            n_known_atoms = self._positions.shape[0]
            deformation = torch.linalg.solve(self._cells, cells[:known])
            affine = (self._positions.unsqueeze(1) @ deformation.index_select(0, structure[:n_known_atoms])).squeeze(1)
            moved = (positions[:n_known_atoms] - affine).norm(dim=1)
            farthest = torch.zeros(known, dtype=torch.float64).scatter_reduce_(0, structure[:n_known_atoms], moved, "amax")
            # The smallest singular value is computed from the 3x3 Gram matrix, which is much faster than an SVD.
            gram = deformation @ deformation.transpose(1, 2)
            smallest = torch.linalg.eigvalsh(gram)[:, 0].clamp_min(0).sqrt()
            reach = (self.cutoff + self.skin) * smallest - 2 * farthest
            stale[:known] = ~(reach >= self.cutoff)
        stale |= torch.tensor([entry is None for entry in self._lists])
        if bool(stale.any()) or self._edges is None:
            self._rebuild(batch, positions, cells, stale)
        assert self._edges is not None
        return self._edges

    def _rebuild(self, batch: CrystalBatch, positions: Tensor, cells: Tensor, stale: Tensor) -> None:
        """Rebuild the lists of the structures in the mask `stale` and concatenate all lists."""
        counts = batch.counts.cpu()
        starts = torch.cumsum(counts, 0) - counts
        points, boxes = positions.numpy(), cells.numpy()
        # For large molecules vesin's cell list is faster than the distances of all pairs.
        alone = stale & _alone(positions, cells, batch.structure.cpu(), self.cutoff + self.skin) & (counts <= 200)
        self.builds += int(alone.sum())
        for k, entry in _all_pairs(positions, starts, counts, alone.nonzero().flatten(), self.cutoff + self.skin).items():
            self._lists[k] = entry
        for k in (stale & ~alone).nonzero().flatten().tolist():
            first, last = int(starts[k]), int(starts[k] + counts[k])
            i, j, shift = _pairs(points[first:last], boxes[k], self.cutoff + self.skin)
            self._lists[k] = (torch.from_numpy(i), torch.from_numpy(j), torch.from_numpy(shift))
            self.builds += 1
        fresh_atoms = stale.index_select(0, batch.structure.cpu())
        if self._positions.shape[0] < positions.shape[0]:
            grown = positions.clone()
            grown[: self._positions.shape[0]] = self._positions
            grown_cells = cells.clone()
            grown_cells[: self._cells.shape[0]] = self._cells
            self._positions, self._cells = grown, grown_cells
        self._positions = torch.where(fresh_atoms.unsqueeze(1), positions, self._positions)
        self._cells = torch.where(stale.view(-1, 1, 1), cells, self._cells)
        lists = [entry for entry in self._lists if entry is not None]
        lengths = torch.tensor([len(entry[0]) for entry in lists])
        offset = torch.repeat_interleave(starts, lengths)
        device, dtype = batch.positions.device, batch.positions.dtype
        self._edges = Edges(
            (torch.cat([entry[0] for entry in lists]) + offset).to(device),
            (torch.cat([entry[1] for entry in lists]) + offset).to(device),
            torch.cat([entry[2] for entry in lists]).to(device=device, dtype=dtype),
            self.cutoff,
        )
