"""Loss of a minibatch, and errors in physical units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nucleate.potentials.base import Prediction
from nucleate.training.batches import Minibatch
from nucleate.training.settings import FitSettings


@dataclass(frozen=True)
class Squares:
    """Squared errors (m, n) of each structure for each member; zero for missing labels.

    Attributes:
        energy: squared error of the energy per atom, (eV/atom)^2.
        force: squared error of the forces, mean over components, (eV/Å)^2.
        stress: squared error of stress times volume per atom, mean over components, (eV/atom)^2.
    """

    energy: Tensor
    force: Tensor
    stress: Tensor


def squares(prediction: Prediction, data: Minibatch) -> Squares:
    """Return the squared errors of a prediction."""
    batch = data.batch
    counts = batch.counts
    energy = ((prediction.energy - data.energy) / counts) ** 2
    per_atom = ((prediction.forces - data.forces) ** 2).mean(-1)
    force = per_atom.new_zeros(energy.shape).index_add(1, batch.structure, per_atom) / counts
    volume = (batch.volumes / counts).view(-1, 1, 1)
    stress = (((prediction.stress - data.stress) * volume) ** 2).mean((-1, -2))
    return Squares(energy, force * data.has_forces, stress * data.has_stress)


def loss(errors: Squares, weight: Tensor, settings: FitSettings) -> Tensor:
    """Return the loss, summed over the members, which have no common parameters."""
    total = settings.energy_weight * errors.energy + settings.force_weight * errors.force + settings.stress_weight * errors.stress
    return (weight * total).mean(1).sum()


@dataclass(frozen=True)
class Errors:
    """Root mean square and mean absolute errors; None for missing labels.

    Attributes:
        energy_rmse, energy_mae: eV/atom.
        force_rmse, force_mae: eV/Å, over components.
        stress_rmse, stress_mae: eV/Å³, over components.
    """

    energy_rmse: float
    energy_mae: float
    force_rmse: float | None
    force_mae: float | None
    stress_rmse: float | None
    stress_mae: float | None


class ErrorSum:
    """Accumulator of the errors of the mean of a committee."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {"energy": [], "force": [], "stress": []}
        self._pairs: dict[str, list[Tensor]] = {"energy": [], "force": []}

    def add(self, prediction: Prediction, data: Minibatch) -> None:
        """Add a minibatch."""
        mean = prediction.mean()
        self._parts["energy"].append((mean.energy[0].detach() - data.energy) / data.batch.counts)
        chosen = data.has_forces[data.batch.structure] > 0
        self._parts["force"].append((mean.forces[0].detach() - data.forces)[chosen].flatten())
        counts = data.batch.counts
        self._pairs["energy"].append(torch.stack([data.energy / counts, mean.energy[0].detach() / counts], dim=1))
        forces = torch.stack([data.forces[chosen].double(), mean.forces[0].detach()[chosen].double()], dim=-1)
        self._pairs["force"].append(forces.view(-1, 2))
        self._parts["stress"].append((mean.stress[0].detach() - data.stress)[data.has_stress > 0].flatten())

    def pairs(self, most: int) -> dict[str, list[list[float]]]:
        """Return at most `most` evenly spaced pairs (reference, model) of energies per atom and of force components."""
        pairs = {}
        for name, parts in self._pairs.items():
            every = torch.cat(parts)
            step = max(1, -(-len(every) // most))
            pairs[name] = [[round(x, 5) for x in pair] for pair in every[::step].tolist()]
        return pairs

    def errors(self) -> Errors:
        """Return the errors of all structures that have been added."""
        values: list[float | None] = []
        for parts in self._parts.values():
            every = torch.cat([part.double() for part in parts])
            values += [float((every**2).mean().sqrt()), float(every.abs().mean())] if len(every) else [None, None]
        return Errors(*values)  # type: ignore[arg-type]
