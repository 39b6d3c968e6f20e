"""Relaxations of a fixed number of steps, and their return."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.relax.learned.invariants import largest_force
from nucleate.relax.learned.settings import MoveSettings
from nucleate.relax.optimisers import Optimiser
from nucleate.relax.state import State, Surface, evaluate, start

LOST = 1e3
"""Largest force that counts, eV/Å; forces that are not finite count as this one."""
MOST_ENERGY = 0.1
"""Largest difference of the energies of two ends that counts, eV/atom: other ends are other minima."""


def trajectory(optimiser: Optimiser, batch: CrystalBatch, surface: Surface, steps: int) -> Iterator[State]:
    """Yield the states after each of a number of steps; the start is not yielded."""
    state = optimiser.init(start(batch, surface, 0.0, variable_cell=True))
    for _ in range(steps):
        state = evaluate(optimiser.move(state), surface, 0.0, variable_cell=True)
        yield state


def returns(optimiser: Optimiser, batch: CrystalBatch, surface: Surface, settings: MoveSettings) -> tuple[Tensor, Tensor]:
    """Return the return of each structure and its last energy.

    The return is minus the mean over the steps of

        log10(max(F, fmax) / fmax) + [F > fmax],

    where F is the largest force: the second term is the share of calls before convergence. The work of the cell counts as a force, so that
    both must have converged.

    Returns:
        (n,) returns, and (n,) energies, eV/atom, which are not finite for a relaxation that failed.
    """
    total = torch.zeros(len(batch), dtype=torch.float64)
    state: State | None = None
    for state in trajectory(optimiser, batch, surface, settings.steps):
        force = torch.nan_to_num(largest_force(state), nan=LOST, posinf=LOST).clamp_max(LOST)
        total -= (force.clamp_min(settings.fmax) / settings.fmax).log10() + (force > settings.fmax).to(total.dtype)
    assert state is not None
    return total / settings.steps, state.enthalpy / batch.counts


def repeated(batch: CrystalBatch, times: int) -> CrystalBatch:
    """Return a batch with all structures several times, one batch after another."""
    return batch if times == 1 else CrystalBatch.concatenate([batch] * times)
