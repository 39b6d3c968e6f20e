"""Gradient descent as all trainings use it: AdamW, schedule of the learning rate, clipping of gradients and check of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from nucleate.errors import NucleateError


def cosine_decay(done: float, final: float = 0.0) -> float:
    """Return the learning rate relative to the initial one after a fraction of the steps; it decays along half a cosine to `final`."""
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))


def check_loss(value: float, step: int) -> None:
    """Raise `NucleateError` if the loss of a step is not finite."""
    if not math.isfinite(value):
        raise NucleateError(f"the loss is not a number at step {step}; lower the learning rate, then start again")


class Descent:
    """AdamW with a schedule.

    Args:
        parameters: Changed in place.
        rate: Learning rate.
        weight_decay: Weight decay of AdamW.
        factor: Factor of the learning rate at each step, the first being 0.
        clip: Largest norm of the gradient of all parameters; None: gradients are not clipped.

    Attributes:
        taken: Number of steps taken.
    """

    def __init__(
        self, parameters: Iterable[Tensor], rate: float, weight_decay: float, factor: Callable[[int], float], clip: float | None = None
    ):
        self._parameters = list(parameters)
        self._optimiser = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=weight_decay)
        self._rate, self._factor, self._clip = rate, factor, clip
        self.taken = 0

    def step(self, loss: Tensor) -> float:
        """Make a step down the gradient of a loss and return the loss; raise `NucleateError` if it is not finite."""
        value = float(loss.detach())
        check_loss(value, self.taken + 1)
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * self._factor(self.taken)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self._clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._optimiser.step()
        self.taken += 1
        return value
