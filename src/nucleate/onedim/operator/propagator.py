"""Operator network that propagates a density in a laser pulse (K. Shah and A. Cangi, arXiv:2407.09628).

From two densities, the external potential and the field in the middle of the step it predicts the density after the step, and then
continues from its own densities. The number of electrons is kept exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.onedim.grid import Grid
from nucleate.onedim.kohn_sham import self_consistent
from nucleate.onedim.operator.fourier import FourierOperator
from nucleate.onedim.propagation import Functional, Pulse, propagate_orbitals
from nucleate.onedim.wells import Well, soft_coulomb
from nucleate.progress import Progress, Step, silent

CHANGE = 10.0
"""Factor by which changes of the density and fields enter, so that all inputs are of one size."""


@dataclass(frozen=True)
class Trajectories:
    """Densities of two electrons in dimers and pulses, by Crank-Nicolson with exact exchange.

    Attributes:
        grid: Grid.
        external: (m, n) external potentials in hartree.
        fields: (m, k) electric field in the middle of each step, in atomic units.
        densities: (m, k + 1, n) densities in 1/bohr.
        step: Time between two densities in atomic units.
    """

    grid: Grid
    external: np.ndarray
    fields: np.ndarray
    densities: np.ndarray
    step: float


def random_trajectories(
    count: int, rng: np.random.Generator, time: float = 20.0, time_step: float = 0.1, every: int = 5, progress: Progress = silent
) -> Trajectories:
    """Return trajectories of random dimers in random pulses.

    Args:
        count: Number of trajectories.
        rng: Random generator.
        time: Length in atomic units.
        time_step: Step of Crank-Nicolson in atomic units.
        every: Number of steps between two densities.
        progress: Called after each trajectory.
    """
    grid = Grid.box(10.0, 81)
    exchange = Functional("exact exchange", lambda n: -0.5 * grid.hartree(n), lambda n: 0.0)
    steps = round(time / time_step)
    middle = (np.arange(steps // every) + 0.5) * time_step * every
    external: list[np.ndarray] = []
    fields: list[list[float]] = []
    densities: list[np.ndarray] = []
    while len(densities) < count:
        distance = rng.uniform(0, 3)
        v = soft_coulomb(grid, rng.uniform(1.0, 1.6, 2), np.array([-distance, distance]) / 2)
        pulse = Pulse(rng.uniform(0.01, 0.05), rng.uniform(0.15, 0.6), rng.uniform(1.0, 2.0))
        well = Well(grid, v)
        start = self_consistent(well, 2, exchange.potential)
        if not start.converged:
            continue
        motion = propagate_orbitals(well, start, 2, exchange, pulse, time_step, steps, every)
        external.append(v)
        fields.append([pulse.field(t) for t in middle])
        densities.append(motion.densities)
        progress(Step("trajectories", len(densities), count))
    return Trajectories(grid, np.array(external), np.array(fields), np.array(densities), time_step * every)


@dataclass(frozen=True)
class PropagatorTraining:
    """Settings of the training.

    Attributes:
        epochs: Number of passes through the data.
        batch: Number of windows in a step.
        unrolled: Number of steps that the network takes from its own densities in training.
        rate: Largest learning rate; it falls to zero with a cosine.
        width, modes, layers: Size of the operator.
    """

    epochs: int = 30
    batch: int = 32
    unrolled: int = 3
    rate: float = 3e-3
    width: int = 24
    modes: int = 24
    layers: int = 3


def advance(model: FourierOperator, grid: Grid, before: Tensor, now: Tensor, external: Tensor, field: Tensor) -> Tensor:
    """Return the densities (b, n) after a step, from those before and now (b, n), potentials (b, n) and fields (b,)."""
    x = torch.as_tensor(grid.x, dtype=now.dtype)
    push = CHANGE * field[:, None] * x
    change = model(torch.stack([now, CHANGE * (now - before), external, push], dim=1))[:, 0] / CHANGE
    # Electrons are taken from where they are.
    change = change - now * change.sum(-1, keepdim=True) / now.sum(-1, keepdim=True)
    return now + change


def train_propagator(
    data: Trajectories, rng: np.random.Generator, settings: PropagatorTraining | None = None, progress: Progress = silent
) -> FourierOperator:
    """Return a network trained on windows of trajectories.

    Args:
        data: Trajectories.
        rng: Random generator of weights and batches.
        settings: Settings of the training.
        progress: Called after each epoch.
    """
    how = settings or PropagatorTraining()
    torch.manual_seed(int(rng.integers(2**31)))
    model = FourierOperator(4, 1, how.width, how.modes, how.layers)
    n, v, f = (torch.tensor(a, dtype=torch.float32) for a in (data.densities, data.external, data.fields))
    windows = np.stack(np.meshgrid(np.arange(len(n)), np.arange(1, n.shape[1] - how.unrolled), indexing="ij"), -1).reshape(-1, 2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=1e-5)
    batches = -(-len(windows) // how.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=how.epochs * batches, pct_start=0.1)
    for epoch in range(how.epochs):
        for rows in np.array_split(rng.permutation(len(windows)), batches):
            m, k = torch.tensor(windows[rows]).T
            before, now, loss = n[m, k - 1], n[m, k], torch.zeros(())
            for j in range(how.unrolled):
                before, now = now, advance(model, data.grid, before, now, v[m], f[m, k + j])
                loss = loss + ((now - n[m, k + j + 1]) ** 2).sum(-1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        progress(Step("training", epoch + 1, how.epochs))
    return model


def roll_out(model: FourierOperator, data: Trajectories) -> np.ndarray:
    """Return the densities (m, k + 1, n) in 1/bohr that the network predicts from the ground states and the fields alone."""
    v, f = (torch.tensor(a, dtype=torch.float32) for a in (data.external, data.fields))
    now = torch.tensor(data.densities[:, 0], dtype=torch.float32)
    before, found = now, [now]
    with torch.no_grad():
        for k in range(f.shape[1]):
            before, now = now, advance(model, data.grid, before, now, v, f[:, k])
            found.append(now)
    return np.asarray(torch.stack(found, dim=1).double().numpy())
