"""Evaluation of a model during its training: errors, parity, shares of the species and gradient noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from nucleate.potentials.registry import Learned
from nucleate.training.batches import LabelledSet
from nucleate.training.fitting import Fitting, evaluation_parts
from nucleate.training.loss import ErrorSum, loss, squares
from nucleate.training.observe import informants, noise_scale
from nucleate.training.settings import FitSettings

LOOKED_AT = 200
"""Largest number of training structures in an evaluation."""
NOISE_BATCHES = 4
"""Number of minibatches for an estimate of the gradient noise."""
PARITY = 1500
"""Largest number of points of a parity plot."""


@dataclass(frozen=True)
class Found:
    """Evaluation of a model on a set of structures.

    Attributes:
        facts: errors, loss and informants, as in the events.
        pairs: reference and model, for parity plots.
    """

    facts: dict[str, Any]
    pairs: dict[str, list[list[float]]]

    @property
    def loss(self) -> float:
        """Loss of the committee's mean, averaged over the structures."""
        return self.facts["loss"]


def examine(model: Learned, labelled: LabelledSet, chosen: Sequence[int], settings: FitSettings) -> Found:
    """Evaluate the mean of a committee on the structures with the indices `chosen`."""
    errors, total, parts = ErrorSum(), 0.0, []
    for data in evaluation_parts(labelled, chosen):
        prediction = model.energy_forces_stress(data.batch, data.edges)
        errors.add(prediction, data)
        mean = squares(prediction.mean(), data)
        total += float(loss(mean, torch.ones_like(mean.energy), settings)) * len(data.batch)
        parts.append(data)
    shares = informants(model, parts)
    return Found({**asdict(errors.errors()), "loss": total / len(chosen), "informants": shares}, errors.pairs(PARITY))


def some(labelled: LabelledSet, seed: int) -> list[int]:
    """Return the indices of the training structures that are used in every evaluation."""
    return sorted(np.random.default_rng([seed, 4]).permutation(len(labelled))[:LOOKED_AT].tolist())


def gradient_noise(fitting: Fitting) -> dict[str, float | None]:
    """Return squared gradient, its covariance over structures and their ratio, estimated from the next minibatches.

    See `noise_scale`; the values are None for L-BFGS and for minibatches of one structure.
    """
    estimates = []
    for ahead in range(NOISE_BATCHES if fitting.settings.optimiser != "lbfgs" else 0):
        chosen = fitting.chosen(fitting.step + ahead)
        half = len(chosen) // 2
        if half:
            first, second = (fitting.gradient(part) for part in (chosen[:half], chosen[half : 2 * half]))
            estimates.append(noise_scale(first, second, half))
    if not estimates:
        return {"gradient": None, "covariance": None, "scale": None}
    gradient, covariance = np.mean(estimates, axis=0).tolist()
    return {"gradient": gradient, "covariance": covariance, "scale": covariance / gradient if gradient > 0 else None}
