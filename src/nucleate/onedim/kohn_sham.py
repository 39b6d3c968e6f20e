"""Kohn-Sham equations of spin-unpolarised electrons in one dimension, in Hartree atomic units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh
from scipy.special import iti0k0, k1

from nucleate.onedim.grid import Grid
from nucleate.onedim.wells import Well

CONVERGED = 1e-8
"""Largest change of the density, integrated, at which self-consistency is reached."""
ITERATIONS = 200
HISTORY = 8
"""Number of earlier densities that the mixing uses."""
MIXING = 0.4
"""Fraction of the output density in a step without history."""

Potential = Callable[[np.ndarray], np.ndarray]
"""Exchange-correlation potential (n,) in hartree of a density (n,) in 1/bohr."""


def occupations(electrons: int) -> np.ndarray:
    """Return the occupations of the lowest orbitals: two each, and one for the last of an odd number of electrons."""
    return np.array([2.0] * (electrons // 2) + [1.0] * (electrons % 2))


@dataclass(frozen=True)
class Orbitals:
    """Occupied orbitals of a potential.

    Attributes:
        energies: (m,) orbital energies in hartree, ascending.
        orbitals: (n, m) orbitals in columns; the integral of the square of each is one.
        density: (n,) density in 1/bohr.
    """

    energies: np.ndarray
    orbitals: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class SelfConsistent:
    """Self-consistent solution of the Kohn-Sham equations.

    Attributes:
        orbitals: Occupied orbitals.
        potential: (n,) Kohn-Sham potential in hartree.
        converged: Whether the density changed by less than 1e-8 in the last iteration.
        history: Densities (n,) of all iterations, the outputs of the Kohn-Sham potential.
    """

    orbitals: Orbitals
    potential: np.ndarray
    converged: bool
    history: list[np.ndarray] = field(repr=False)


def occupied(grid: Grid, potential: np.ndarray, electrons: int) -> Orbitals:
    """Return the occupied orbitals of non-interacting electrons in `potential` (n,) in hartree."""
    f = occupations(electrons)
    energies, vectors = eigh(grid.kinetic + np.diag(potential), subset_by_index=[0, len(f) - 1])
    vectors /= np.sqrt(grid.spacing)
    return Orbitals(energies, vectors, vectors**2 @ f)


def exchange_potential(density: np.ndarray, softening: float) -> np.ndarray:
    """Return the exchange potential (n,) in hartree of the local-density approximation for the soft-Coulomb interaction.

    v_x = -(1 / pi a) int_0^y K_0(t) dt with y = pi a n, the derivative of the exchange energy below.

    Args:
        density: (n,) density in 1/bohr of unpolarised electrons.
        softening: Length a in bohr.
    """
    return -iti0k0(np.pi * softening * density)[1] / (np.pi * softening)


def exchange_energy(density: np.ndarray, softening: float) -> np.ndarray:
    """Return the exchange energy per length (n,) in hartree/bohr of a uniform unpolarised gas.

    It is -(2 / pi^2) int_0^inf sin^2(k_F u) / u^2 / sqrt(u^2 + a^2) du with k_F = pi n / 2, from the density matrix 2 sin(k_F u) / (pi u)
    of the gas. The integral has the closed form -[y int_0^y K_0 + y K_1(y) - 1] / (pi a)^2, y = pi a n; docs/theory/onedim.md derives it.
    N. Helbig et al., Phys. Rev. A 83, 032503 (2011), use the same functional.

    Args:
        density: (n,) density in 1/bohr.
        softening: Length a in bohr.
    """
    y = np.maximum(np.pi * softening * density, 1e-12)
    return -(y * iti0k0(y)[1] + y * k1(y) - 1) / (np.pi * softening) ** 2


def self_consistent(well: Well, electrons: int, potential: Potential, start: np.ndarray | None = None) -> SelfConsistent:
    """Solve the Kohn-Sham equations with the exchange-correlation potential `potential`.

    Densities are mixed by D. G. Anderson's method (J. ACM 12, 547 (1965)).

    Args:
        well: External potential.
        electrons: Number of electrons.
        potential: Exchange-correlation potential in hartree of a density in 1/bohr.
        start: (n,) density of the first iteration; None: that of independent electrons.

    Returns:
        The last iteration, converged or not.
    """
    grid = well.grid
    density = occupied(grid, well.potential, electrons).density if start is None else start
    inputs: list[np.ndarray] = []
    errors: list[np.ndarray] = []
    history = []
    for _ in range(ITERATIONS):
        v = well.potential + grid.hartree(density) + potential(density)
        found = occupied(grid, v, electrons)
        history.append(found.density)
        error = found.density - density
        if grid.integral(np.abs(error)) < CONVERGED:
            return SelfConsistent(found, v, True, history)
        inputs, errors = [*inputs, density][-HISTORY:], [*errors, error][-HISTORY:]
        density = np.maximum(_mixed(inputs, errors), 0)
        density *= electrons / grid.integral(density)
    return SelfConsistent(found, v, False, history)


def _mixed(inputs: list[np.ndarray], errors: list[np.ndarray]) -> np.ndarray:
    """Return the combination of earlier densities with the smallest error, and a step along that error."""
    last = errors[-1]
    if len(errors) == 1:
        return inputs[-1] + MIXING * last
    change = np.array([last - e for e in errors[:-1]])
    weights = np.linalg.lstsq(change.T, last, rcond=1e-10)[0]
    shift = np.array([inputs[-1] - d for d in inputs[:-1]])
    return inputs[-1] - weights @ shift + MIXING * (last - weights @ change)
