"""Gradient descent as all trainings use it: AdamW, schedule of the learning rate, clipping of gradients and check of the loss."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any

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


def _without_compiler(kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """Return the methods of an optimiser without their decorators for `torch.compile`.

    The decorators import torch's compiler, which takes 2 to 3 seconds in each process that trains, and which nothing here uses.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    return {"step": torch.no_grad()(inspect.unwrap(kind.step)), **{name: inspect.unwrap(getattr(kind, name)) for name in names}}


Adam = type("Adam", (torch.optim.Adam,), _without_compiler(torch.optim.Adam))
"""torch's Adam, which does not import torch's compiler."""
AdamW = type("AdamW", (torch.optim.AdamW,), _without_compiler(torch.optim.AdamW))
"""torch's AdamW, which does not import torch's compiler."""


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
        self._optimiser = AdamW(self._parameters, lr=rate, weight_decay=weight_decay)
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
