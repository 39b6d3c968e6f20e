"""Physics-informed network for time-dependent Kohn-Sham orbitals in a laser pulse.

Each orbital is exp(-i e t) [phi(x) + (t / T) w(x) (a + i b)] with the ground-state orbital phi, its energy e, a window w that vanishes at
the walls, and the functions a and b of the network. Initial state and walls are therefore exact, and the loss is the residual of the
Kohn-Sham equations alone. Hartree and exchange potential are those of the network's density; they are not differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.onedim.kohn_sham import SelfConsistent, occupations
from nucleate.onedim.packet.network import Perceptron
from nucleate.onedim.propagation import Functional, Pulse
from nucleate.onedim.wells import Well
from nucleate.progress import Progress, Step, silent


@dataclass(frozen=True)
class OrbitalTraining:
    """Settings of the training.

    Attributes:
        steps: Number of steps of Adam; the rate falls from `rate` to zero.
        rate: Learning rate.
        moments: Number of random times in a step.
        width: Number of units of the three hidden layers.
        norm: Weight of the squared error of the norms; psi = 0 has no residual and must be excluded.
    """

    steps: int = 4000
    rate: float = 3e-3
    moments: int = 16
    width: int = 48
    norm: float = 0.1


class OrbitalNetwork:
    """Time-dependent orbitals of a network.

    Args:
        well: External potential on the grid of the collocation points.
        start: Ground state of the functional.
        electrons: Number of electrons.
        functional: Exchange-correlation functional.
        pulse: Laser pulse.
        duration: Length of time T in atomic units.
        width: Number of units of the hidden layers.
    """

    def __init__(
        self,
        well: Well,
        start: SelfConsistent,
        electrons: int,
        functional: Functional,
        pulse: Pulse,
        duration: float,
        width: int,
    ):
        grid = well.grid
        self.well, self.functional, self.pulse, self.duration = well, functional, pulse, duration
        self.count = len(start.orbitals.energies)
        self.occupations = torch.tensor(occupations(electrons), dtype=torch.float32)
        self.energies = torch.tensor(start.orbitals.energies, dtype=torch.float32)
        self.ground = torch.tensor(start.orbitals.orbitals.T.copy(), dtype=torch.float32)
        half = float(grid.x[-1])
        x = torch.tensor(grid.x, dtype=torch.float32)
        self.x = x
        self.window = torch.cos(torch.pi * x / (2 * half)) ** 2
        self.slopes = (
            -(torch.pi / (2 * half)) * torch.sin(torch.pi * x / half),
            -2 * (torch.pi / (2 * half)) ** 2 * torch.cos(torch.pi * x / half),
        )
        # The ground state obeys its own equation on the grid, whose kinetic energy is therefore used for it.
        self.kinetic = torch.tensor(grid.kinetic_of(start.orbitals.orbitals.T), dtype=torch.float32)
        self.network = Perceptron(2 * self.count, width, centre=(0.0, duration / 2), scale=(half / 3, duration / 6))
        # Electrons at rest are the start, so that the trivial solution psi = 0 is far away.
        with torch.no_grad():
            for parameter in self.network.layers[-1].parameters():
                parameter.zero_()

    def _points(self, t: Tensor) -> Tensor:
        return torch.stack([self.x.repeat(len(t)), t.repeat_interleave(len(self.x))], dim=1)

    def orbitals(self, t: Tensor) -> Tensor:
        """Return the orbitals (k, m, n), complex, at times (k,) without the phase exp(-i e t)."""
        values = self.network(self._points(t)).reshape(len(t), len(self.x), self.count, 2).permute(0, 2, 1, 3)
        added = (t / self.duration)[:, None, None] * self.window * torch.view_as_complex(values.contiguous())
        return self.ground + added

    def density(self, times: np.ndarray) -> np.ndarray:
        """Return the densities (k, n) in 1/bohr at times (k,) in atomic units."""
        with torch.no_grad():
            psi = self.orbitals(torch.tensor(times, dtype=torch.float32))
            return np.asarray((self.occupations[:, None] * psi.abs() ** 2).sum(dim=1).double().numpy())

    def residual(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return the norms (k, m) of the orbitals and the residual (k, m, n), complex, of their equations at times (k,)."""
        jet = self.network.jet(self._points(t))

        def waves(values: Tensor) -> Tensor:
            return torch.view_as_complex(values.reshape(len(t), len(self.x), self.count, 2).permute(0, 2, 1, 3).contiguous())

        g, g_x, g_t, g_xx = (waves(part) for part in jet)
        tau = (t / self.duration)[:, None, None]
        w, (w_x, w_xx) = self.window, self.slopes
        psi = self.ground + tau * w * g
        change = w * g / self.duration + tau * w * g_t
        kinetic = self.kinetic - 0.5 * tau * (w_xx * g + 2 * w_x * g_x + w * g_xx)
        with torch.no_grad():
            density = (self.occupations[:, None] * psi.abs() ** 2).sum(dim=1).double().numpy()
            mean = self.well.grid.hartree(density) + np.array([self.functional.potential(n) for n in density])
            field = np.array([self.pulse.field(float(moment)) for moment in t])
            total = torch.tensor(self.well.potential + mean + field[:, None] * self.well.grid.x, dtype=torch.float32)
        norms = (psi.abs() ** 2).sum(dim=-1) * self.well.grid.spacing
        return norms, 1j * change + self.energies[:, None] * psi - kinetic - total[:, None] * psi


def train_orbitals(
    make: Callable[[int], OrbitalNetwork], seed: int, settings: OrbitalTraining | None = None, progress: Progress = silent
) -> OrbitalNetwork:
    """Return the network after training.

    Args:
        make: Builds the network of a given width.
        seed: Seed of weights and times.
        settings: Settings of the training.
        progress: Called a hundred times.
    """
    how = settings or OrbitalTraining()
    torch.manual_seed(seed)
    made = make(how.width)
    optimiser = torch.optim.Adam(made.network.parameters(), lr=how.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    for step in range(how.steps):
        # One time in each of equal intervals, so that none is left out.
        t = (torch.arange(how.moments) + torch.rand(how.moments)) * (made.duration / how.moments)
        norms, rest = made.residual(t)
        loss = (rest.abs() ** 2).mean() + how.norm * ((norms - 1) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % max(1, how.steps // 100) == 0:
            progress(Step("orbitals", step, how.steps))
    return made
