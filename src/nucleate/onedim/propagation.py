"""Electrons in a laser pulse: Crank-Nicolson steps of the exact wave function of up to two electrons and of Kohn-Sham orbitals.

The step (1 + i dt H / 2) psi(t + dt) = (1 - i dt H / 2) psi(t) with H at t + dt / 2 is unitary and of second order (J. Crank and
P. Nicolson, Proc. Camb. Philos. Soc. 43, 50 (1947)). The field is in the length gauge: the potential of an electron is x E(t).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_banded

from nucleate.onedim.exact import hamiltonian, pair_density
from nucleate.onedim.grid import Grid
from nucleate.onedim.kohn_sham import Potential, SelfConsistent, occupations
from nucleate.onedim.wells import Well
from nucleate.progress import Progress, Step, silent

CORRECTIONS = 2
"""Number of times a Kohn-Sham step is repeated with the potential of its midpoint."""
REPORTS = 50


@dataclass(frozen=True)
class Pulse:
    """Laser pulse E(t) = E0 sin^2(pi t / T) sin(omega t) for 0 < t < T, with the duration T = 2 pi cycles / omega.

    Attributes:
        amplitude: E0 in atomic units of the electric field, 51.42 V/Å.
        frequency: omega in hartree.
        cycles: Number of periods.
    """

    amplitude: float
    frequency: float = 0.15
    cycles: float = 4.0

    @property
    def duration(self) -> float:
        """Length of the pulse in atomic units of time, 0.02419 fs."""
        return 2 * np.pi * self.cycles / self.frequency

    def field(self, t: float) -> float:
        """Return E(t) in atomic units."""
        if not 0 < t < self.duration:
            return 0.0
        return float(self.amplitude * np.sin(np.pi * t / self.duration) ** 2 * np.sin(self.frequency * t))


@dataclass(frozen=True)
class Motion:
    """Electrons in motion.

    Attributes:
        times: (k,) times in atomic units.
        field: (k,) electric field in atomic units.
        dipole: (k,) integral of x n(x), in bohr; the dipole moment of the electrons is minus this.
        norm: (k,) integral of the density.
        energy: (k,) energy in hartree without the coupling to the field.
        densities: (k, n) density in 1/bohr.
        wave: Final wave function, (n, n) of two electrons or (n, m) of orbitals.
    """

    times: np.ndarray
    field: np.ndarray
    dipole: np.ndarray
    norm: np.ndarray
    energy: np.ndarray
    densities: np.ndarray
    wave: np.ndarray


def crank_nicolson(grid: Grid, potential: np.ndarray, waves: np.ndarray, dt: float) -> np.ndarray:
    """Return the waves (n, m), in columns, after a time `dt` in a potential (n,) in hartree."""
    upper = len(grid.bands) - 1
    bands = np.zeros((2 * upper + 1, len(grid)), dtype=complex)
    for k, value in enumerate(grid.bands):
        bands[upper - k, k:] = bands[upper + k, : len(grid) - k] = 0.5j * dt * value
    bands[upper] += 1 + 0.5j * dt * potential
    moved = grid.kinetic_of(waves.T).T + potential[:, None] * waves
    return np.asarray(
        solve_banded((upper, upper), bands, waves - 0.5j * dt * moved, overwrite_ab=True, overwrite_b=True, check_finite=False)
    )


def propagate_pair(
    well: Well, wave: np.ndarray, pulse: Pulse, dt: float, steps: int, every: int = 1, progress: Progress = silent
) -> Motion:
    """Propagate the exact wave function of two electrons.

    Each step is a half step of the interaction, Crank-Nicolson steps of both electrons, which commute, and another half step of the
    interaction (G. Strang, SIAM J. Numer. Anal. 5, 506 (1968)).

    Args:
        well: External potential.
        wave: (n, n) wave function, normalised on the grid.
        pulse: Laser pulse.
        dt: Time step in atomic units.
        steps: Number of steps.
        every: Number of steps between two records.
        progress: Called now and then.
    """
    grid = well.grid
    turn = np.exp(-0.5j * dt * grid.interaction)
    psi = wave.astype(complex)

    def step(k: int) -> None:
        nonlocal psi
        v = well.potential + grid.x * pulse.field((k + 0.5) * dt)
        psi = turn * crank_nicolson(grid, v, crank_nicolson(grid, v, turn * psi, dt).T, dt).T

    def observe() -> tuple[np.ndarray, float]:
        energy = float(np.vdot(psi, hamiltonian(well, psi)).real) * grid.spacing**2
        return pair_density(grid, psi), energy

    records = _run(grid, pulse, dt, steps, every, step, observe, progress)
    return Motion(*records, psi)


@dataclass(frozen=True)
class Functional:
    """Adiabatic exchange-correlation functional.

    Attributes:
        name: Name for messages and tables.
        potential: Potential (n,) in hartree of a density (n,) in 1/bohr.
        energy: Energy in hartree of a density.
    """

    name: str
    potential: Potential
    energy: Callable[[np.ndarray], float]


def orbital_energy(well: Well, orbitals: np.ndarray, electrons: int, functional: Functional) -> float:
    """Return the total Kohn-Sham energy in hartree of occupied orbitals (n, m)."""
    grid, f = well.grid, occupations(electrons)
    density = np.abs(orbitals) ** 2 @ f
    kinetic = sum(float(np.vdot(orbital, grid.kinetic_of(orbital)).real) * w for orbital, w in zip(orbitals.T, f, strict=True))
    rest = grid.integral((well.potential + 0.5 * grid.hartree(density)) * density)
    return float(kinetic * grid.spacing + rest + functional.energy(density))


def propagate_orbitals(
    well: Well,
    start: SelfConsistent | np.ndarray,
    electrons: int,
    functional: Functional,
    pulse: Pulse,
    dt: float,
    steps: int,
    every: int = 1,
    progress: Progress = silent,
) -> Motion:
    """Propagate Kohn-Sham orbitals with an adiabatic functional.

    The Hartree and exchange-correlation potential of the midpoint is the mean of those at both ends; the step is repeated with it.

    Args:
        well: External potential.
        start: Ground state, or orbitals (n, m) in columns.
        electrons: Number of electrons.
        functional: Exchange-correlation functional.
        pulse: Laser pulse.
        dt: Time step in atomic units.
        steps: Number of steps.
        every: Number of steps between two records.
        progress: Called now and then.
    """
    grid, f = well.grid, occupations(electrons)
    orbitals = (start.orbitals.orbitals if isinstance(start, SelfConsistent) else start).astype(complex)

    def mean_field(waves: np.ndarray) -> np.ndarray:
        density = np.abs(waves) ** 2 @ f
        return grid.hartree(density) + functional.potential(density)

    now = mean_field(orbitals)

    def step(k: int) -> None:
        nonlocal orbitals, now
        fixed = well.potential + grid.x * pulse.field((k + 0.5) * dt)
        after = now
        for _ in range(1 + CORRECTIONS):
            moved = crank_nicolson(grid, fixed + (now + after) / 2, orbitals, dt)
            after = mean_field(moved)
        orbitals, now = moved, after

    def observe() -> tuple[np.ndarray, float]:
        return np.abs(orbitals) ** 2 @ f, orbital_energy(well, orbitals, electrons, functional)

    records = _run(grid, pulse, dt, steps, every, step, observe, progress)
    return Motion(*records, orbitals)


def _run(
    grid: Grid,
    pulse: Pulse,
    dt: float,
    steps: int,
    every: int,
    step: Callable[[int], None],
    observe: Callable[[], tuple[np.ndarray, float]],
    progress: Progress,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    densities, energies, times = [], [], []
    for k in range(steps + 1):
        if k % every == 0 or k == steps:
            density, energy = observe()
            densities.append(density)
            energies.append(energy)
            times.append(k * dt)
        if k % max(1, steps // REPORTS) == 0:
            progress(Step("propagation", k, steps))
        if k < steps:
            step(k)
    n = np.array(densities)
    t = np.array(times)
    return t, np.array([pulse.field(s) for s in times]), grid.integral(grid.x * n), grid.integral(n), np.array(energies), n
