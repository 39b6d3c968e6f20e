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
from nucleate.electrons.model.free_energy_rows import free_energy_row
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches


def read_aligned(model: ElectronModel, path: Path) -> Snapshot:
    """Return a snapshot with its local density of states at the energies of a model; raise `BadInput` as `aligned` does."""
    return aligned(read_snapshot(path), model.zero, model.energies, str(path))


def fit_last_layer(
    model: ElectronModel, paths: Sequence[Path], shares: Tensor, ridge: float, dos_weight: float, free_weight: float = 0.0
) -> None:
    """Fit the last layer of every member in place.

    Args:
        model: Model; its network must not require gradients.
        paths: Snapshots.
        shares: (members, snapshots) weights of the snapshots.
        ridge: Ridge parameter relative to the largest curvature.
        dos_weight: Weight of the densities of states, relative to all points of a cell together.
        free_weight: Weight of the free energies, see `_with_free_energies`.
    """
    network = model.network
    width, outputs = network.last.shape[1], network.last.shape[2]
    left = torch.zeros(network.members, width + 1, width + 1, dtype=torch.float64)
    right = torch.zeros(network.members, width + 1, outputs, dtype=torch.float64)
    rows, exact = [], []
    for number, path in enumerate(paths):
        snapshot, own = read_aligned(model, path), shares[:, number].double()[:, None, None]
        shape = snapshot.ldos.shape
        grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
        points = Field.of(model, snapshot.atoms, grid.shape)
        flat = torch.tensor(targets(snapshot, model.channels))
        row = free_energy_row(model, snapshot, flat) if free_weight else None
        fields = torch.zeros(0, grid.size, dtype=torch.float64) if row is None else row.fields
        sums = torch.zeros(network.members, width + 1, dtype=torch.float64)
        by_field = torch.zeros(network.members, len(fields), width + 1, dtype=torch.float64)
        with torch.no_grad():
            for index in batches(block_indices(grid.shape)):
                h = torch.nn.functional.pad(network.hidden(points.features(index)), (0, 1), value=1.0)
                left += own * torch.bmm(h.transpose(1, 2), h).double() / grid.size
                right += own * torch.matmul(h.transpose(1, 2), flat[index.flatten()]).double() / grid.size
                sums += h.sum(1, dtype=torch.float64) / grid.size
                by_field += torch.einsum("mpw,fp->mfw", h.double(), fields[:, index.flatten()])
        mean = flat.mean(0, dtype=torch.float64)
        left += own * dos_weight * torch.einsum("mi,mj->mij", sums, sums)
        right += own * dos_weight * torch.einsum("mi,e->mie", sums, mean)
        if row is not None:
            rows.append(grid.size * torch.einsum("mw,e->mwe", sums, row.same) + torch.einsum("mfw,fe->mwe", by_field, row.local))
            exact.append(row.exact)
    added = ridge * left.diagonal(dim1=1, dim2=2).amax(1)
    left += added[:, None, None] * torch.eye(width + 1, dtype=torch.float64)
    solution = torch.linalg.solve(left, right)
    if rows:
        solution = _with_free_energies(solution, left, torch.stack(rows, 1), torch.tensor(exact, dtype=torch.float64), free_weight)
    network.last.copy_(solution[:, :-1])
    network.last_bias.copy_(solution[:, -1])


def _with_free_energies(solution: Tensor, left: Tensor, rows: Tensor, exact: Tensor, weight: float) -> Tensor:
    """Return the solution of the normal equations with one more row for the free energy of each cell.

    These rows couple all outputs. They are few, so that the solution follows from the one without them by Woodbury's formula. A weight
    of 1 halves the error of a cell alone.

    Args:
        solution: (members, width, outputs) solution without these rows.
        left: (members, width, width) normal equations of each output.
        rows: (members, cells, width, outputs) linear forms of the free energies.
        exact: (cells,) their exact values.
        weight: Weight of the rows.
    """
    answers = torch.linalg.solve(left[:, None], rows)
    coupled = torch.einsum("mswe,mtwe->mst", rows, answers)
    missing = exact - torch.einsum("mswe,mwe->ms", rows, solution)
    scale = coupled.diagonal(dim1=1, dim2=2).mean(1) / weight
    shares = torch.linalg.solve(coupled + scale[:, None, None] * torch.eye(len(exact), dtype=torch.float64), missing)
    return solution + torch.einsum("ms,mswe->mwe", shares, answers)
