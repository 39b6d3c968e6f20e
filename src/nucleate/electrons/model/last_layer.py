"""Fit of the last layer in closed form, on all grid points and on the densities of states of whole cells.

With the other layers fixed, the least-squares solution follows from normal equations, which are accumulated in one pass over the grids of
the snapshots. The density of states of a cell is the mean of d over its points: one more row per cell, which suppresses errors of equal
sign at all points. With a large weight and a small ridge such rows are fitted exactly and say nothing about other cells. Ridge and weight
are therefore chosen by cross-validation: folders are left out one after another, which needs no other pass over the grids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.alignment import aligned
from nucleate.electrons.model.blocks import block_indices
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches

RIDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Ridge parameters that are tried, relative to the largest curvature."""
DOS_WEIGHTS = (0.0, 1.0, 10.0, 100.0)
"""Weights of the densities of states that are tried, relative to all points of a cell together."""
PLAIN = 1e-4, 0.0
"""Ridge and weight where a single snapshot leaves nothing to choose them by."""


@dataclass(frozen=True)
class _Equations:
    """Normal equations of one snapshot.

    Attributes:
        gram: (members, width + 1, width + 1) mean of h h over the points.
        projection: (members, width + 1, energies) mean of h d.
        square: Mean of |d|².
        sums: (members, width + 1) mean of h.
        mean: (energies,) mean of d.
    """

    gram: Tensor
    projection: Tensor
    square: float
    sums: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Chosen:
    """Ridge and weight of the densities of states, and their error in cross-validation.

    Attributes:
        ridge: Ridge parameter, relative to the largest curvature.
        dos_weight: Weight of the densities of states.
        left_out: Relative squared errors of d and of the density of states of the folders left out, added; NaN if there was no choice.
    """

    ridge: float
    dos_weight: float
    left_out: float


def fit_last_layer(model: ElectronModel, paths: Sequence[Path], shares: Tensor, ridge: float | None, dos_weight: float | None) -> Chosen:
    """Fit the last layer of every member in place.

    Args:
        model: Model; its network must not require gradients.
        paths: Snapshots.
        shares: (members, snapshots) weights of the snapshots.
        ridge: Ridge parameter relative to the largest curvature; None: chosen by cross-validation.
        dos_weight: Weight of the densities of states; None: chosen by cross-validation.

    Returns:
        The parameters of the fit.
    """
    equations = [_equations(model, path) for path in paths]
    folders = [path.parents[1] for path in paths]
    # With one folder the snapshots take the place of folders.
    groups = np.unique([str(place) for place in (folders if len(set(folders)) > 1 else paths)], return_inverse=True)[1]
    chosen = _choose(equations, shares.double(), groups, ridge, dos_weight)
    solution = _solved(*_added(equations, shares.double(), range(len(paths)), chosen.dos_weight), chosen.ridge)
    model.network.last.copy_(solution[:, :-1])
    model.network.last_bias.copy_(solution[:, -1])
    return chosen


def read_aligned(model: ElectronModel, path: Path) -> Snapshot:
    """Return a snapshot with its local density of states at the energies of a model; raise `BadInput` as `aligned` does."""
    return aligned(read_snapshot(path), model.zero, model.energies, str(path))


def _equations(model: ElectronModel, path: Path) -> _Equations:
    """Accumulate the normal equations of a snapshot."""
    network, snapshot = model.network, read_aligned(model, path)
    width, outputs, shape = network.last.shape[1], network.last.shape[2], snapshot.ldos.shape
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (shape[0], shape[1], shape[2]))
    points = Field.of(model, snapshot.atoms, grid.shape)
    flat = torch.tensor(snapshot.ldos.reshape(-1, shape[3]))
    gram = torch.zeros(network.members, width + 1, width + 1, dtype=torch.float64)
    projection = torch.zeros(network.members, width + 1, outputs, dtype=torch.float64)
    sums = torch.zeros(network.members, width + 1, dtype=torch.float64)
    with torch.no_grad():
        for index in batches(block_indices(grid.shape)):
            h = torch.nn.functional.pad(network.hidden(points.features(index)), (0, 1), value=1.0)
            gram += torch.bmm(h.transpose(1, 2), h).double() / grid.size
            projection += torch.matmul(h.transpose(1, 2), flat[index.flatten()]).double() / grid.size
            sums += h.sum(1, dtype=torch.float64) / grid.size
    square = float(flat.square().sum(dtype=torch.float64)) / grid.size
    return _Equations(gram, projection, square, sums, flat.mean(0, dtype=torch.float64))


def _added(equations: Sequence[_Equations], shares: Tensor, kept: Sequence[int] | range, dos_weight: float) -> tuple[Tensor, Tensor]:
    """Return the weighted sum of normal equations: left (members, width + 1, width + 1) and right (members, width + 1, energies)."""
    left, right = torch.zeros_like(equations[0].gram), torch.zeros_like(equations[0].projection)
    for k in kept:
        one, own = equations[k], shares[:, k, None, None]
        left += own * (one.gram + dos_weight * torch.einsum("mi,mj->mij", one.sums, one.sums))
        right += own * (one.projection + dos_weight * torch.einsum("mi,e->mie", one.sums, one.mean))
    return left, right


def _solved(left: Tensor, right: Tensor, ridge: float) -> Tensor:
    """Return the (members, width + 1, energies) solution."""
    added = ridge * left.diagonal(dim1=1, dim2=2).amax(1)
    return torch.linalg.solve(left + added[:, None, None] * torch.eye(left.shape[1], dtype=left.dtype), right)


def _choose(equations: Sequence[_Equations], shares: Tensor, groups: np.ndarray, ridge: float | None, dos_weight: float | None) -> Chosen:
    """Choose the parameters that are None by leaving out one group after another."""
    pairs = list(product(RIDGES if ridge is None else (ridge,), DOS_WEIGHTS if dos_weight is None else (dos_weight,)))
    if len(pairs) == 1:
        return Chosen(*pairs[0], left_out=float("nan"))
    if len(set(groups)) < 2:
        return Chosen(PLAIN[0] if ridge is None else ridge, PLAIN[1] if dos_weight is None else dos_weight, left_out=float("nan"))
    square = float(np.mean([one.square for one in equations]))
    dos_square = float(np.mean([float(one.mean.square().sum()) for one in equations]))
    score = np.zeros(len(pairs))
    for group in set(groups):
        kept, out = [np.flatnonzero(groups != group), np.flatnonzero(groups == group)]
        for n, (own_ridge, weight) in enumerate(pairs):
            solution = _solved(*_added(equations, shares, kept.tolist(), weight), own_ridge)
            for k in out.tolist():
                one = equations[k]
                # |h W - d|² averaged over the points, and over the members.
                quadratic = torch.einsum("mie,mij,mje->m", solution, one.gram, solution)
                linear = torch.einsum("mie,mie->m", solution, one.projection)
                local = float((quadratic - 2 * linear).mean()) + one.square
                dos = float((torch.einsum("mi,mie->me", one.sums, solution) - one.mean).square().sum(1).mean())
                score[n] += (local / square + dos / dos_square) / len(equations)
    best = int(np.argmin(score))
    return Chosen(*pairs[best], left_out=float(score[best]))
