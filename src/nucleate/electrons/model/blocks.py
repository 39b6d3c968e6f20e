"""Points of a grid in compact blocks, each with the atoms near it: batches of dense arithmetic instead of lists of pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.electrons.grid import Grid

EDGE = 4
"""Points along an edge of a block."""


@dataclass(frozen=True)
class AtomImages:
    """Periodic images of atoms within a distance of the cell.

    Attributes:
        atom: (n_images,) index of the atom.
        shift: (n_images, 3) whole lattice translations, float64.
        places: (n_images, 3) positions without gradient, Å.
    """

    atom: Tensor
    shift: Tensor
    places: Tensor

    def within(self, cell: Tensor, first: float, last: float, cutoff: float) -> AtomImages:
        """Those within `cutoff` (Å) of the part of the cell between two fractions of its first vector."""
        inverse = torch.linalg.inv(cell.detach())
        along, margin = self.places @ inverse[:, 0], cutoff * float(inverse[:, 0].norm())
        kept = (along > first - margin) & (along < last + margin)
        return AtomImages(self.atom[kept], self.shift[kept], self.places[kept])


def images(positions: Tensor, cell: Tensor, cutoff: float) -> AtomImages:
    """All images of the atoms that come within `cutoff` (Å) of any point of the cell."""
    fixed, box = positions.detach(), cell.detach()
    inverse = torch.linalg.inv(box)
    fractions = fixed @ inverse
    margin = cutoff * inverse.norm(dim=0)
    ranges = [
        torch.arange(math.ceil(float(-margin[k] - fractions[:, k].max())), math.floor(float(1 + margin[k] - fractions[:, k].min())) + 1)
        for k in range(3)
    ]
    shifts = torch.cartesian_prod(*ranges).to(torch.float64)
    placed = fractions[:, None] + shifts
    near = ((placed > -margin) & (placed < 1 + margin)).all(-1)
    atom, which = near.nonzero(as_tuple=True)
    return AtomImages(atom, shifts[which], placed[atom, which] @ box)


def block_indices(shape: tuple[int, int, int], edge: int = EDGE) -> list[np.ndarray]:
    """Point numbers of a grid, cut into blocks of at most edge³ neighbouring points, in order along the first axis."""
    cuts = [[np.arange(i, min(i + edge, n)) for i in range(0, n, edge)] for n in shape]
    found = []
    for a in cuts[0]:
        for b in cuts[1]:
            for c in cuts[2]:
                found.append(((a[:, None, None] * shape[1] + b[:, None]) * shape[2] + c).ravel())
    return found


def neighbourhood(points: Tensor, around: AtomImages, cutoff: float) -> tuple[Tensor, Tensor]:
    """Images within `cutoff` of each block's points.

    Args:
        points: (blocks, points, 3) without gradient, Å.
        around: images to choose from.
        cutoff: Å.

    Returns:
        (blocks, most) indices of images and (blocks, most) which of them are real; the others pad.
    """
    # First what is near any of the blocks at all: they lie side by side, and the cell may hold many more atoms than that.
    centre = points.mean((0, 1))
    close = ((around.places - centre).norm(dim=1) < (points - centre).norm(dim=2).max() + cutoff).nonzero()[:, 0]
    middle = points.mean(1, keepdim=True)
    # A ball around the block holds all its points: what is beyond cannot be near any of them.
    radius = (points - middle).norm(dim=2).amax(1)
    near = torch.cdist(middle.squeeze(1), around.places[close]) < (radius + cutoff).unsqueeze(1)
    counts = near.sum(1)
    most = max(1, int(counts.max()))
    if not len(close):
        return torch.zeros(len(points), 1, dtype=torch.int64), torch.zeros(len(points), 1, dtype=torch.bool)
    order = near.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return close[order], torch.arange(most)[None] < counts[:, None]


def surroundings(
    index: Tensor, grid: Grid, positions: Tensor, species: Tensor, around: AtomImages, cutoff: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """What a descriptor reads: points, atoms near them, their species; differentiable in positions and the grid's cell.

    Args:
        index: (blocks, points) numbers of points.
        grid: the grid.
        positions: (n_atoms, 3), Å, float64.
        species: (n_atoms,) index of each atom's species.
        around: images of these atoms.
        cutoff: Å.
        dtype: of what is returned; differences are small, so float32 is taken about each block's middle.
    """
    points = grid.points(index)
    chosen, real = neighbourhood(points.detach(), around, cutoff)
    atom = around.atom[chosen]
    placed = positions[atom] + around.shift[chosen] @ grid.cell
    middle = points.detach().mean(1, keepdim=True)
    kinds = torch.where(real, species[atom], -1)
    return (points - middle).to(dtype), (placed - middle).to(dtype), kinds
