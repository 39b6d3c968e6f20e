"""The fit of the last layer: cross-validation from normal equations is what fits without each snapshot give."""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.model.last_layer import DOS_WEIGHTS, PLAIN, RIDGES, fit_last_layer
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches


def left_out_error(model: ElectronModel, paths: list[Path], shares: Tensor, ridge: float, weight: float) -> float:
    """Return the mean relative squared error of d and of the density of states, by fits without each snapshot."""
    snapshots = [read_snapshot(path) for path in paths]
    targets = [torch.tensor(s.ldos.reshape(-1, s.ldos.shape[3]), dtype=torch.float64) for s in snapshots]
    square = np.mean([float(t.square().sum(1).mean()) for t in targets])
    dos_square = np.mean([float(t.mean(0).square().sum()) for t in targets])
    total = 0.0
    for out, (snapshot, target) in enumerate(zip(snapshots, targets, strict=True)):
        kept = [k for k in range(len(paths)) if k != out]
        own = copy.deepcopy(model)
        fit_last_layer(own, [paths[k] for k in kept], shares[:, kept], ridge, weight)
        with torch.no_grad():
            (index,) = batches([np.arange(len(target))])
            found = own.network(Field.of(own, snapshot.atoms, snapshot.ldos.shape[:3]).features(index)).double()  # type: ignore[arg-type]
        total += float((found - target).square().sum(2).mean()) / square
        total += float((found.mean(1) - target.mean(0)).square().sum(1).mean()) / dos_square
    return total / len(paths)


def test_ridge_and_weight_are_chosen_by_the_error_on_what_was_left_out(al_data: Path, al_model: ElectronModel) -> None:
    paths, model = snapshot_paths(al_data), copy.deepcopy(al_model)
    shares = torch.rand(model.network.members, len(paths), generator=torch.Generator().manual_seed(0)) + 0.5
    chosen = fit_last_layer(model, paths, shares, None, None)
    assert chosen.ridge in RIDGES
    assert chosen.dos_weight in DOS_WEIGHTS
    # Weights are stored in single precision.
    assert left_out_error(model, paths, shares, chosen.ridge, chosen.dos_weight) == pytest.approx(chosen.left_out, rel=0.02)
    for ridge, weight in ((RIDGES[0], DOS_WEIGHTS[-1]), (RIDGES[-1], DOS_WEIGHTS[0])):
        assert left_out_error(model, paths, shares, ridge, weight) > 0.98 * chosen.left_out


def test_given_parameters_are_kept_and_one_snapshot_leaves_no_choice(al_data: Path, al_model: ElectronModel) -> None:
    paths, model = snapshot_paths(al_data), copy.deepcopy(al_model)
    shares = torch.ones(model.network.members, len(paths))
    given = fit_last_layer(model, paths, shares, 1e-3, 5.0)
    assert (given.ridge, given.dos_weight) == (1e-3, 5.0)
    assert math.isnan(given.left_out)
    alone = fit_last_layer(model, paths[:1], shares[:, :1], None, None)
    assert (alone.ridge, alone.dos_weight) == PLAIN
    # One parameter is chosen for the other.
    assert fit_last_layer(model, paths, shares, None, 10.0).dos_weight == 10.0
