"""Starting paths of bands between two mapped structures."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from scipy.linalg import polar
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.crystals.strain import deformation

CLOSEST = 0.8
"""Smallest distance of two atoms on a starting path, in units of the smaller one of the shortest distances at its ends."""
_PUSHES = 50


@dataclass(frozen=True)
class Path:
    """Images of one band in the frame of the cell halfway between its ends, which both directions of the path share.

    The cell of an image is `cell @ expm(L)`, its positions are `x @ expm(L)`.

    Attributes:
        numbers: (n,) atomic numbers.
        cell: (3, 3) cell halfway, Å.
        x: (images, n, 3) positions, Å.
        log_strain: (images, 3, 3) symmetric logarithmic strains L.
    """

    numbers: Tensor
    cell: Tensor
    x: Tensor
    log_strain: Tensor

    def batch(self) -> CrystalBatch:
        """Return the images as a batch."""
        gradient = deformation(self.log_strain)
        images, n, _ = self.x.shape
        return CrystalBatch(
            (self.x @ gradient).reshape(-1, 3), self.cell @ gradient, self.numbers.repeat(images), torch.arange(images).repeat_interleave(n)
        )


def straight(start: Atoms, end: Atoms, images: int) -> Path:
    """Return the path on which logarithmic strain and fractional coordinates change linearly.

    Args:
        start, end: the ends, with the atoms in the same order; their positions are continuous, not wrapped.
        images: number of images with both ends.
    """
    cell = start.cell.array
    _, stretch = polar(np.linalg.inv(cell) @ end.cell.array, side="left")
    values, axes = np.linalg.eigh(stretch)
    middle = cell @ (axes * np.sqrt(values)) @ axes.T
    a, b = np.linalg.solve(cell.T, start.positions.T).T, np.linalg.solve(end.cell.array.T, end.positions.T).T
    change = b - a
    change -= change.mean(axis=0)
    t = np.linspace(0, 1, images).reshape(-1, 1, 1)
    strain = (axes * np.log(values)) @ axes.T
    return Path(
        torch.as_tensor(start.numbers, dtype=torch.int64),
        torch.as_tensor(middle),
        torch.as_tensor((a + t * change) @ middle),
        torch.as_tensor((t - 0.5) * strain),
    )


def rattled(path: Path, size: float, rng: np.random.Generator) -> Path:
    """Return a path bent by a random displacement, largest halfway, which breaks a symmetry that a straight path keeps.

    Args:
        path: the path.
        size: largest displacement of an atom, Å.
        rng: random numbers.
    """
    images, n, _ = path.x.shape
    noise = rng.normal(size=(n, 3))
    noise -= noise.mean(axis=0)
    # One atom in a cell only translates the crystal.
    scale = size / max(float(np.linalg.norm(noise, axis=1).max()), 1e-12) if n > 1 else 0.0
    bump = torch.sin(torch.linspace(0, torch.pi, images, dtype=torch.float64)).view(-1, 1, 1)
    bump[0] = bump[-1] = 0.0
    return replace(path, x=path.x + bump * torch.as_tensor(scale * noise))


def pushed_apart(path: Path) -> Path:
    """Return a path without overlapping atoms; pairs closer than `CLOSEST` are moved apart along the line between them.

    The ends are kept.
    """
    batch = path.batch()
    images, n, _ = path.x.shape
    reach = CLOSEST * _shortest(batch, images)
    free = torch.ones(images, 1, 1, dtype=torch.float64)
    free[0] = free[-1] = 0.0
    inverse = deformation(-path.log_strain)
    for _ in range(_PUSHES):
        edges = neighbour_edges(batch, reach)
        vectors = edges.vectors(batch)
        lengths = vectors.norm(dim=1).clamp_min(1e-6)
        overlap = (reach - lengths).clamp_min(0.0)
        if not bool((overlap > 1e-3 * reach).any()):
            break
        # Every pair is listed twice, once from each side.
        step = torch.zeros_like(batch.positions).index_add_(0, edges.centre, -0.25 * (overlap / lengths).unsqueeze(1) * vectors)
        moves = step.view(images, n, 3) * free
        batch = replace(batch, positions=batch.positions + (moves - moves.mean(dim=1, keepdim=True)).reshape(-1, 3))
    x = batch.positions.view(images, n, 3) @ inverse
    # The ends are copied, because they are exact.
    return replace(path, x=torch.cat([path.x[:1], x[1:-1], path.x[-1:]]))


def _shortest(batch: CrystalBatch, images: int) -> float:
    """Return the shortest distance of two atoms at both ends, Å."""
    ends = batch.select(torch.tensor([0, images - 1]))
    reach = 1.5 * float((ends.volumes / ends.counts).max()) ** (1 / 3)
    lengths = neighbour_edges(ends, reach).vectors(ends).norm(dim=1)
    return float(lengths.min()) if len(lengths) else reach
