"""Evaluation of a training for its page: errors, parity, informants, weights and gradient noise."""

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
"""Training structures in an evaluation."""
NOISE_BATCHES = 4
"""Minibatches that an estimate of the gradient's noise takes."""
PARITY = 1500
"""Points of a parity plot."""


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
        """Mean over structures, of the committee's mean."""
        return self.facts["loss"]


def examine(model: Learned, labelled: LabelledSet, chosen: Sequence[int], settings: FitSettings) -> Found:
    """Compute the errors of the committee's mean on structures."""
    errors, total, parts = ErrorSum(), 0.0, []
    for data in evaluation_parts(labelled, chosen):
        prediction = model.energy_forces_stress(data.batch, data.edges)
        errors.add(prediction, data)
        mean = squares(prediction.mean(), data)
        total += float(loss(mean, torch.ones_like(mean.energy), settings)) * len(data.batch)
        parts.append(data)
    said = informants(model, parts)
    return Found({**asdict(errors.errors()), "loss": total / len(chosen), "informants": said}, errors.pairs(PARITY))


def some(labelled: LabelledSet, seed: int) -> list[int]:
    """Return the training structures used in every evaluation."""
    return sorted(np.random.default_rng([seed, 4]).permutation(len(labelled))[:LOOKED_AT].tolist())


def gradient_noise(fitting: Fitting) -> dict[str, float | None]:
    """Squared gradient, its covariance over structures and their ratio, from the next minibatches; see `noise_scale`."""
    guesses = []
    for ahead in range(NOISE_BATCHES if fitting.settings.optimiser != "lbfgs" else 0):
        chosen = fitting.chosen(fitting.step + ahead)
        half = len(chosen) // 2
        if half:
            first, second = (fitting.gradient(part) for part in (chosen[:half], chosen[half : 2 * half]))
            guesses.append(noise_scale(first, second, half))
    if not guesses:
        return {"gradient": None, "covariance": None, "scale": None}
    gradient, covariance = np.mean(guesses, axis=0).tolist()
    return {"gradient": gradient, "covariance": covariance, "scale": covariance / gradient if gradient > 0 else None}
