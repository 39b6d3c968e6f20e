"""Lennard-Jones clusters: the pair potential, and batched relaxations on it."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import torch

from nucleate.crystals.batch import CrystalBatch
from nucleate.generate.settings import GenerateSettings
from nucleate.relax.optimisers import Lbfgs
from nucleate.relax.state import Evaluation, evaluate, start

SIGMA = 3.4
"""Length of the pair potential, Å; energies are in units of the well depth."""
CONTACT = 2 ** (1 / 6) * SIGMA
GENERATE = GenerateSettings(
    volume_per_atom=CONTACT**3 / 2**0.5, volume_range=(0.8, 1.6), min_distance={"Ar-Ar": 0.65 * CONTACT}, max_length_ratio=2.0, workers=1
)
FORCE = 1e-3 * 24 / SIGMA
"""Convergence of the force on each atom, well depths per Å."""
STEPS = 1000


@numba.njit(cache=True, fastmath=True)
def pairs(positions: np.ndarray, sigma: float, energies: np.ndarray, forces: np.ndarray) -> None:
    """Enter the energies and forces of a batch of clusters: (b, n, 3) positions, (b,) energies, (b, n, 3) forces."""
    for k in range(len(positions)):
        total = 0.0
        forces[k] = 0.0
        for i in range(positions.shape[1]):
            for j in range(i):
                x = positions[k, i, 0] - positions[k, j, 0]
                y = positions[k, i, 1] - positions[k, j, 1]
                z = positions[k, i, 2] - positions[k, j, 2]
                inverse = 1.0 / (x * x + y * y + z * z)
                six = (sigma * sigma * inverse) ** 3
                total += 4.0 * (six * six - six)
                slope = 24.0 * (2.0 * six * six - six) * inverse
                forces[k, i, 0] += slope * x
                forces[k, i, 1] += slope * y
                forces[k, i, 2] += slope * z
                forces[k, j, 0] -= slope * x
                forces[k, j, 1] -= slope * y
                forces[k, j, 2] -= slope * z
        energies[k] = total


def surface(batch: CrystalBatch) -> Evaluation:
    """Return the energies and forces of clusters of one size; the cells are boxes without effect."""
    positions = batch.positions.numpy().reshape(len(batch), -1, 3)
    energies, forces = np.empty(len(batch)), np.empty_like(positions)
    pairs(positions, SIGMA, energies, forces)
    zero = batch.cells.new_zeros(len(batch))
    return Evaluation(torch.from_numpy(energies), torch.from_numpy(forces).reshape(-1, 3), torch.zeros_like(batch.cells), zero)


@dataclass
class Quenched:
    """Energies, numbers of potential calls and positions of relaxed clusters."""

    energies: np.ndarray
    calls: np.ndarray
    positions: np.ndarray


def quench(structures: list) -> Quenched:
    """Relax clusters of one size in one batch; those that converge leave it."""
    batch = CrystalBatch.from_atoms(structures)
    n = len(structures[0])
    found = Quenched(np.full(len(batch), np.inf), np.full(len(batch), STEPS + 1), np.zeros((len(batch), n, 3)))
    optimiser = Lbfgs(maxstep=0.15 * SIGMA, history=20)
    state = optimiser.init(start(batch, surface, 0.0, False))
    for step in range(STEPS):
        done = state.largest_force() < FORCE
        if done.any():
            own = state.batch.ids[done].numpy()
            found.energies[own] = state.enthalpy[done].numpy()
            found.calls[own] = step + 1
            found.positions[own] = state.batch.positions.reshape(-1, n, 3)[done].numpy()
            if done.all():
                break
            state = state.select(torch.nonzero(~done)[:, 0])
        state = evaluate(optimiser.move(state), surface, 0.0, False)
    return found
