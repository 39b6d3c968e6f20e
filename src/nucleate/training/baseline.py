"""Initialisation of a model: energy shifts of the species, energy scale and scale of the inputs."""

from __future__ import annotations

import numpy as np
import torch

from nucleate.crystals.batch import CrystalBatch
from nucleate.potentials.registry import Trainable
from nucleate.training.batches import LabelledSet

MOST = 200
"""Largest number of structures from which the scale of the inputs is computed."""


def fit_baseline(model: Trainable, labelled: LabelledSet, seed: int) -> None:
    """Set the energy shifts (by least squares over compositions), the energy scale and the scale of the inputs.

    Args:
        model: the model, which is changed.
        labelled: the training data.
        seed: random seed of the choice of structures for the scale of the inputs.
    """
    data = labelled.data
    counts = np.array([[np.count_nonzero(item.atoms.numbers == z) for z in model.species] for item in data], dtype=float)
    per_atom = counts / counts.sum(1, keepdims=True)
    target = (np.array([item.energy for item in data]) - _wall(model, labelled)) / counts.sum(1)
    # The fit is weighted, so that strongly compressed structures do not determine the shifts.
    root = np.sqrt(labelled.weight.mean(0).cpu().numpy())
    shift, *_ = np.linalg.lstsq(per_atom * root[:, None], target * root, rcond=1e-6)
    model.energy_shift.copy_(torch.as_tensor(shift))
    forces = [item.forces for item in data if item.forces is not None]
    scale = float(np.sqrt(np.mean(np.concatenate(forces) ** 2))) if forces else 0.0
    scale = max(scale, float(np.std(target - per_atom @ shift)))
    model.energy_scale.fill_(float(np.clip(scale, 0.05, 3.0)))
    chosen = np.sort(np.random.default_rng([seed, 3]).permutation(len(data))[:MOST])
    model.fit_inputs(CrystalBatch.from_atoms([data[k].atoms for k in chosen], device=model.energy_scale.device))


def _wall(model: Trainable, labelled: LabelledSet) -> np.ndarray:
    """Return the (n,) energies of the pair wall, eV, by evaluating the model with zero scale and shifts."""
    scale, shift = model.energy_scale.clone(), model.energy_shift.clone()
    model.energy_scale.zero_()
    model.energy_shift.zero_()
    energies = []
    for first in range(0, len(labelled), 32):
        part = labelled.take(range(first, min(first + 32, len(labelled))))
        energies.append(model.energy_forces_stress(part.batch, part.edges).energy[0].double().cpu().numpy())
    model.energy_scale.copy_(scale)
    model.energy_shift.copy_(shift)
    return np.concatenate(energies)
