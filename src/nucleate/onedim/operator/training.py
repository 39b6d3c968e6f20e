"""Training of the operator n -> v_xc, and its use in the Kohn-Sham equations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.onedim.grid import Grid
from nucleate.onedim.inversion import response
from nucleate.onedim.kohn_sham import SelfConsistent, self_consistent
from nucleate.onedim.operator.data import Wells
from nucleate.onedim.operator.fourier import FourierOperator
from nucleate.onedim.wells import Well
from nucleate.progress import Progress, Step, silent

TAIL = 1e-3
"""Density in 1/bohr added to the weight of the potential's error, so that the tail is learned as well."""
HIDDEN = 1e-9
"""Density in 1/bohr below which the exact potential is not compared."""


@dataclass(frozen=True)
class OperatorTraining:
    """Settings of the training.

    Attributes:
        epochs: Number of passes through the data.
        batch: Number of wells in a step.
        rate: Largest learning rate; it falls to zero with a cosine.
        width, modes, layers: Size of the operator.
        stride: Training uses every `stride`-th point of the grid.
        response: Weight of the squared error of the density to first order, in hartree^2 bohr, beside that of the potential.
    """

    epochs: int = 120
    batch: int = 32
    rate: float = 2e-3
    width: int = 32
    modes: int = 48
    layers: int = 4
    stride: int = 2
    response: float = 1.0


def potential_loss(predicted: Tensor, exact: Tensor, density: Tensor) -> Tensor:
    """Return the squared error of potentials (b, n) in hartree^2, weighted with the density (b, n)."""
    weight = (density + TAIL) * (density > HIDDEN)
    return (weight * (predicted - exact) ** 2).sum() / weight.sum()


def train_operator(
    wells: Wells, rng: np.random.Generator, settings: OperatorTraining | None = None, progress: Progress = silent
) -> FourierOperator:
    """Return an operator trained on exact potentials; wells are mirrored at random.

    Args:
        wells: Training data.
        rng: Random generator of weights and batches.
        settings: Settings of the training.
        progress: Called after each epoch.
    """
    how = settings or OperatorTraining()
    torch.manual_seed(int(rng.integers(2**31)))
    model = FourierOperator(1, 1, how.width, how.modes, how.layers)
    density = torch.tensor(wells.density[:, :: how.stride], dtype=torch.float32)
    exact = torch.tensor(wells.xc[:, :: how.stride], dtype=torch.float32)
    chi = torch.tensor(responses(wells, how.stride), dtype=torch.float32) if how.response else None
    step_length = wells.grid.spacing * how.stride
    optimiser = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=1e-5)
    steps = how.epochs * -(-len(wells) // how.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=steps, pct_start=0.1)
    for epoch in range(how.epochs):
        order = rng.permutation(len(wells))
        for rows in np.array_split(order, -(-len(wells) // how.batch)):
            n, v = density[rows], exact[rows]
            flipped = rng.random() < 0.5
            predicted = model((n.flip(-1) if flipped else n)[:, None])[:, 0]
            predicted = predicted.flip(-1) if flipped else predicted
            loss = potential_loss(predicted, v, n)
            if chi is not None:
                change = step_length * torch.einsum("bij,bj->bi", chi[rows], predicted - v)
                loss = loss + how.response * step_length * (change**2).sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        progress(Step("training", epoch + 1, how.epochs))
    return model.double()


def responses(wells: Wells, stride: int) -> np.ndarray:
    """Return the change of the self-consistent density with the exchange-correlation potential, to first order.

    (1 - chi f_H)^-1 chi with the response chi of non-interacting electrons and the Hartree kernel f_H: an error of v_xc moves electrons
    until their Hartree potential holds them back.

    Args:
        wells: Wells with exact potentials.
        stride: Every `stride`-th point is kept.

    Returns:
        (m, n, n) in 1/(bohr^2 hartree).
    """
    grid = wells.grid
    rows = []
    for v, n, xc in zip(wells.external, wells.density, wells.xc, strict=True):
        chi = response(grid, v + grid.hartree(n) + xc, 2)[1]
        screening = np.eye(len(grid)) - grid.spacing**2 * chi @ grid.interaction
        rows.append(np.linalg.solve(screening, chi)[::stride, ::stride].astype(np.float32))
    return np.array(rows)


def predict(model: FourierOperator, density: np.ndarray) -> np.ndarray:
    """Return the exchange-correlation potential (..., n) in hartree of densities (..., n) in 1/bohr."""
    with torch.no_grad():
        rows = torch.as_tensor(density, dtype=torch.float64).reshape(-1, 1, density.shape[-1])
        # Reflection is a symmetry of the map; the mean with the mirror image has it exactly.
        mean = (model(rows) + model(rows.flip(-1)).flip(-1)) / 2
        return np.asarray(mean.numpy().reshape(density.shape))


def potential_error(grid: Grid, predicted: np.ndarray, exact: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Return the root mean square error (m,) in hartree of potentials (m, n), weighted with the density and without its mean.

    A constant does not change the density.
    """
    weight = density / density.sum(axis=-1, keepdims=True)
    difference = predicted - exact
    difference = difference - (weight * difference).sum(axis=-1, keepdims=True)
    return np.asarray(np.sqrt((weight * difference**2).sum(axis=-1)))


def solve_with(model: FourierOperator, well: Well, electrons: int = 2, start: np.ndarray | None = None) -> SelfConsistent:
    """Solve the Kohn-Sham equations with the operator's potential; see `nucleate.onedim.kohn_sham.self_consistent`."""
    return self_consistent(well, electrons, lambda density: predict(model, density), start)
