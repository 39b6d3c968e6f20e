"""Physics-informed network for a wave packet of the harmonic oscillator (K. Shah et al., arXiv:2210.12522).

psi = u + i v is the mean of two states. It is known on |x| < pi/4 alone; the network continues it to |x| < pi with the help of the
Schrödinger equation, the initial state and the walls. Atomic units with the frequency one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import eval_hermite
from torch import Tensor

from nucleate.onedim.packet.network import Jet, Perceptron
from nucleate.progress import Progress, Step, silent

WALL, PERIOD = math.pi, 2 * math.pi
RATE = 1e-3
RESIDUALS = ("none", "notebook", "schroedinger")


@dataclass(frozen=True)
class PacketTraining:
    """Settings of a training.

    Attributes:
        states: Quantum numbers of the two states.
        residual: `none`: data alone; `notebook`: the residual of the public notebook, which is not the Schrödinger equation;
            `schroedinger`: the right one.
        weight: Weight of residual, walls and initial state beside the data.
        width: Number of units of the three hidden layers.
        steps: Number of steps of Adam.
        causal: Strength of the weights that hold later times back until earlier ones are solved (S. Wang et al., arXiv:2203.07404); zero:
            equal weights.
        everywhere: Whether data are given on |x| < pi.
        double: Whether numbers have double precision, as in the notebook.
    """

    states: tuple[int, int] = (0, 1)
    residual: str = "schroedinger"
    weight: float = 1e-4
    width: int = 32
    steps: int = 10_000
    causal: float = 0.0
    everywhere: bool = False
    double: bool = False


@dataclass(frozen=True)
class PacketErrors:
    """Mean squared errors on |x| < pi, 0 < t < 2 pi in steps of 0.01.

    Attributes:
        real, imaginary: Of the parts u and v of the wave function.
        density: Of u^2 + v^2.
        residual: Mean square of the residual of the Schrödinger equation on the collocation points.
    """

    real: float
    imaginary: float
    density: float
    residual: float


def packet(x: np.ndarray, t: np.ndarray, states: tuple[int, int]) -> np.ndarray:
    """Return the exact wave function (n,), complex, at positions and times (n,)."""

    def state(k: int) -> np.ndarray:
        norm = math.pi**-0.25 / math.sqrt(2.0**k * math.factorial(k))
        return np.asarray(norm * eval_hermite(k, x) * np.exp(-0.5 * x * x) * np.exp(-1j * (k + 0.5) * t))

    return np.asarray((state(states[0]) + state(states[1])) / math.sqrt(2))


def mesh(half: float, step: float) -> Tensor:
    """Return points (n, 2) of x from -`half` and t from 0, in equal steps, times in the outer loop."""
    x, t = np.meshgrid(np.arange(-half, half, step), np.arange(0, PERIOD, step))
    return torch.tensor(np.stack([x.ravel(), t.ravel()], axis=1))


def parts(points: Tensor, states: tuple[int, int]) -> Tensor:
    """Return u and v (n, 2) of the exact wave function at `points` (n, 2)."""
    psi = packet(points[:, 0].numpy(), points[:, 1].numpy(), states)
    return torch.tensor(np.stack([psi.real, psi.imag], axis=1))


def residual(jet: Jet, x: Tensor) -> Tensor:
    """Return the residual (n, 2) of i psi_t = -psi_xx / 2 + x^2 psi / 2: u_t + v_xx / 2 - x^2 v / 2 and v_t - u_xx / 2 + x^2 u / 2."""
    u, v = jet.value.T
    potential = 0.5 * x * x
    first = jet.t[:, 0] + 0.5 * jet.xx[:, 1] - potential * v
    second = jet.t[:, 1] - 0.5 * jet.xx[:, 0] + potential * u
    return torch.stack([first, second], dim=1)


def notebook_residual(jet: Jet, x: Tensor) -> Tensor:
    """Return the residual (n, 2) as the public notebook states it: -u_t - (v_xx + x^2 / 2) v / 2 and -v_t + (u_xx + x^2 / 2) u / 2.

    The second derivative is multiplied by the function, and the potential has the wrong sign and half its size.
    """
    u, v = jet.value.T
    first = -jet.t[:, 0] - 0.5 * (jet.xx[:, 1] + 0.5 * x * x) * v
    second = -jet.t[:, 1] + 0.5 * (jet.xx[:, 0] + 0.5 * x * x) * u
    return torch.stack([first, second], dim=1)


def train_packet(settings: PacketTraining, seed: int, progress: Progress = silent) -> Perceptron:
    """Return a network trained with Adam at the rate 1e-3, data in steps of 0.1 and collocation points in steps of 0.2.

    Args:
        settings: Settings of the training.
        seed: Seed of the weights.
        progress: Called a hundred times.
    """
    torch.manual_seed(seed)
    kind = torch.float64 if settings.double else torch.float32
    model = Perceptron(2, settings.width, kind=kind)
    data = mesh(WALL if settings.everywhere else WALL / 4, 0.1)
    points = mesh(WALL, 0.2)
    line, moments = torch.unique(points[:, 0]), torch.unique(points[:, 1])
    start = torch.stack([line, torch.zeros_like(line)], dim=1)
    walls = torch.stack([torch.tensor([-WALL, WALL]).repeat(len(moments)), moments.repeat_interleave(2)], dim=1).to(kind)
    known, initial = (parts(rows, settings.states).to(kind) for rows in (data, start))
    data, points, start = data.to(kind), points.to(kind), start.to(kind)
    x, times = points[:, 0], len(moments)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    for step in range(settings.steps):
        loss = ((model(data) - known) ** 2).mean()
        if settings.residual != "none":
            rule = residual if settings.residual == "schroedinger" else notebook_residual
            square = (rule(model.jet(points), x) ** 2).reshape(times, -1).mean(dim=1)
            if settings.causal:
                with torch.no_grad():
                    earlier = torch.cumsum(square, 0) - square
                    held = torch.exp(-settings.causal * earlier)
                square = held * square
            physics = square.mean() + (model(walls) ** 2).mean() + ((model(start) - initial) ** 2).mean()
            loss = loss + settings.weight * physics
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % max(1, settings.steps // 100) == 0:
            progress(Step("packet", step, settings.steps))
    return model.double()


def packet_errors(model: Perceptron, states: tuple[int, int], step: float = 0.01) -> PacketErrors:
    """Return the errors of a network on a fine mesh."""
    points = mesh(WALL, step)
    with torch.no_grad():
        found, exact = model(points), parts(points, states)
        square = ((found - exact) ** 2).mean(dim=0)
        density = (((found**2).sum(dim=1) - (exact**2).sum(dim=1)) ** 2).mean()
        coarse = mesh(WALL, 0.2)
        rest = (residual(model.jet(coarse), coarse[:, 0]) ** 2).mean()
    return PacketErrors(float(square[0]), float(square[1]), float(density), float(rest))
