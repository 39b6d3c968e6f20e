"""Refinement of a predicted potential by the Kohn-Sham equation of its density, with a network of x."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from nucleate.onedim.grid import Grid

STEPS = 300
WIDTH = 32
REACH = 8.0
"""Largest input of the perceptron; with a small one it learns only slow variations of the potential."""
SCALE = 1e-6
"""Unit of the squared residual, so that the tolerances of the search do not end it."""


def kohn_sham_residual(kinetic: Tensor, amplitude: Tensor, potential: Tensor) -> Tensor:
    """Return the residual (n,) of -phi'' / 2 + v phi = e phi, with the energy e that makes it smallest.

    Args:
        kinetic: (n,) -phi'' / 2 in atomic units.
        amplitude: (n,) orbital phi.
        potential: (n,) Kohn-Sham potential in hartree.
    """
    moved = kinetic + potential * amplitude
    energy = (amplitude * moved).sum() / (amplitude**2).sum()
    return moved - energy * amplitude


def refine(grid: Grid, external: np.ndarray, density: np.ndarray, predicted: np.ndarray, seed: int = 0, steps: int = STEPS) -> np.ndarray:
    """Return a better exchange-correlation potential (n,) in hartree of a density of two electrons.

    A perceptron of x is added to the prediction. It is trained by the residual of the Kohn-Sham equation with the orbital sqrt(n / 2);
    exact potentials are not used. V. Martinetto et al. (doi 10.1088/2632-2153/ad3159) suggest the combination.

    Args:
        grid: Grid.
        external: (n,) external potential in hartree.
        density: (n,) density in 1/bohr.
        predicted: (n,) predicted exchange-correlation potential in hartree.
        seed: Seed of the network.
        steps: Number of iterations of L-BFGS.
    """
    torch.manual_seed(seed)
    phi = np.sqrt(np.maximum(density, 0) / 2)
    amplitude, kinetic = torch.tensor(phi), torch.tensor(grid.kinetic_of(phi))
    fixed = torch.tensor(external + grid.hartree(density) + predicted)
    x = torch.tensor(grid.x[:, None] / grid.x[-1] * REACH)
    last = nn.Linear(WIDTH, 1)
    network = nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), last).double()
    with torch.no_grad():
        # The prediction itself is the start.
        last.weight.zero_()
        last.bias.zero_()
    search = torch.optim.LBFGS(
        network.parameters(), max_iter=steps, tolerance_grad=1e-12, tolerance_change=1e-16, history_size=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        search.zero_grad()
        loss = (kohn_sham_residual(kinetic, amplitude, fixed + network(x)[:, 0]) ** 2).sum() * grid.spacing / SCALE
        loss.backward()
        return loss

    search.step(closure)
    with torch.no_grad():
        return np.asarray(predicted + network(x)[:, 0].numpy())
