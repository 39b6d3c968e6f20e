"""Fit of the last layer in closed form, on all grid points and on the densities of states of whole cells.

With the other layers fixed, the least-squares solution follows from normal equations, which are accumulated in one pass over the grids of
the snapshots. The density of states of a cell is the mean of d over its points: one more row per cell, which suppresses errors of equal
sign at all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.alignment import aligned, targets
from nucleate.electrons.model.blocks import block_indices
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches


def read_aligned(model: ElectronModel, path: Path) -> Snapshot:
    """Return a snapshot with its local density of states at the energies of a model; raise `BadInput` as `aligned` does."""
    return aligned(read_snapshot(path), model.zero, model.energies, str(path))


def fit_last_layer(model: ElectronModel, paths: Sequence[Path], shares: Tensor, ridge: float, dos_weight: float) -> None:
    """Fit the last layer of every member in place.

    Args:
        model: Model; its network must not require gradients.
        paths: Snapshots.
        shares: (members, snapshots) weights of the snapshots.
        ridge: Ridge parameter relative to the largest curvature.
        dos_weight: Weight of the densities of states, relative to all points of a cell together.
    """
    network = model.network
    width, outputs = network.last.shape[1], network.last.shape[2]
    left = torch.zeros(network.members, width + 1, width + 1, dtype=torch.float64)
    right = torch.zeros(network.members, width + 1, outputs, dtype=torch.float64)
    for number, path in enumerate(paths):
        snapshot, own = read_aligned(model, path), shares[:, number].double()[:, None, None]
        shape = snapshot.ldos.shape
        grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
        points = Field.of(model, snapshot.atoms, grid.shape)
        flat = torch.tensor(targets(snapshot, model.channels))
        sums = torch.zeros(network.members, width + 1, dtype=torch.float64)
        with torch.no_grad():
            for index in batches(block_indices(grid.shape)):
                h = torch.nn.functional.pad(network.hidden(points.features(index)), (0, 1), value=1.0)
                left += own * torch.bmm(h.transpose(1, 2), h).double() / grid.size
                right += own * torch.matmul(h.transpose(1, 2), flat[index.flatten()]).double() / grid.size
                sums += h.sum(1, dtype=torch.float64) / grid.size
        mean = flat.mean(0, dtype=torch.float64)
        left += own * dos_weight * torch.einsum("mi,mj->mij", sums, sums)
        right += own * dos_weight * torch.einsum("mi,e->mie", sums, mean)
    added = ridge * left.diagonal(dim1=1, dim2=2).amax(1)
    solution = torch.linalg.solve(left + added[:, None, None] * torch.eye(width + 1, dtype=torch.float64), right)
    network.last.copy_(solution[:, :-1])
    network.last_bias.copy_(solution[:, -1])
