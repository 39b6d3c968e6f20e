"""Compact blocks of grid points with their neighbouring atoms, for batched dense operations instead of pair lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.crystals.atom_images import AtomImages
from nucleate.electrons.grid import Grid

EDGE = 4
"""Number of points along an edge of a block."""


def block_indices(shape: tuple[int, int, int], edge: int = EDGE) -> list[np.ndarray]:
    """Split the point indices of a grid into blocks of at most edge³ neighbouring points, ordered along the first axis."""
    cuts = [[np.arange(i, min(i + edge, n)) for i in range(0, n, edge)] for n in shape]
    found = []
    for a in cuts[0]:
        for b in cuts[1]:
            for c in cuts[2]:
                found.append(((a[:, None, None] * shape[1] + b[:, None]) * shape[2] + c).ravel())
    return found


def neighbourhood(points: Tensor, around: AtomImages, cutoff: float) -> tuple[Tensor, Tensor]:
    """Find the images within `cutoff` of each block's points.

    Args:
        points: (blocks, points, 3) positions in Å, without gradient.
        around: Images to search.
        cutoff: Cutoff radius in Å.

    Returns:
        Indices of images (blocks, most), and a mask (blocks, most) that is False for padding.
    """
    # Preselect images near any of the blocks: the blocks are adjacent, and the cell may contain many more atoms.
    centre = points.mean((0, 1))
    close = ((around.places - centre).norm(dim=1) < (points - centre).norm(dim=2).max() + cutoff).nonzero()[:, 0]
    middle = points.mean(1, keepdim=True)
    # Images outside the bounding sphere of a block plus the cutoff are not within the cutoff of its points.
    radius = (points - middle).norm(dim=2).amax(1)
    near = torch.cdist(middle.squeeze(1), around.places[close]) < (radius + cutoff).unsqueeze(1)
    counts = near.sum(1)
    most = max(1, int(counts.max()))
    if not len(close):
        return torch.zeros(len(points), 1, dtype=torch.int64), torch.zeros(len(points), 1, dtype=torch.bool)
    order = near.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return close[order], torch.arange(most)[None] < counts[:, None]


@dataclass(frozen=True)
class Surroundings:
    """Blocks of points with the atoms around them, relative to the centre of each block.

    Attributes:
        points: (blocks, points, 3) positions in Å.
        atoms: (blocks, near, 3) positions of images of atoms in Å.
        species: (blocks, near) species index of each atom; -1 for padding.
        index: (blocks, near) index of each atom in the structure; -1 for padding.
    """

    points: Tensor
    atoms: Tensor
    species: Tensor
    index: Tensor


def surroundings(
    index: Tensor, grid: Grid, positions: Tensor, species: Tensor, around: AtomImages, cutoff: float, dtype: torch.dtype
) -> Surroundings:
    """Return points with the atoms around them, differentiable in positions and cell.

    Args:
        index: (blocks, points) indices of points.
        grid: Grid.
        positions: (n_atoms, 3) positions in Å, float64.
        species: (n_atoms,) index of each atom's species.
        around: Images of these atoms.
        cutoff: Cutoff radius in Å.
        dtype: Type of the result; coordinates are relative to the centre of each block, so that float32 is sufficient.
    """
    points = grid.points(index)
    chosen, real = neighbourhood(points.detach(), around, cutoff)
    atom = around.atom[chosen]
    placed = positions[atom] + around.shift[chosen] @ grid.cell
    middle = points.detach().mean(1, keepdim=True)
    kinds = torch.where(real, species[atom], -1)
    return Surroundings((points - middle).to(dtype), (placed - middle).to(dtype), kinds, torch.where(real, atom, -1))
