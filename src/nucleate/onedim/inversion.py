"""The Kohn-Sham potential that has a given density.

Two electrons in one orbital have an analytic potential. For any number of electrons the functional of Wu and Yang is maximised by Newton's
method with the exact response on the grid: Q. Wu and W. Yang, J. Chem. Phys. 118, 2498 (2003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from nucleate.errors import NucleateError
from nucleate.onedim.grid import Grid
from nucleate.onedim.kohn_sham import occupations, occupied
from nucleate.onedim.wells import Well

CONVERGED = 1e-8
"""Largest error of the density in 1/bohr."""
RELATIVE = 1e-6
"""Largest error of the density relative to itself where it is visible."""
ITERATIONS = 100
DAMPED = 5
"""Number of damped iterations before Newton's method."""
FLOOR = 1e-12
"""Density, relative to its largest value, below which rounding hides the potential and the start is kept."""
SHIFT = 1e-7
"""Number added to the eigenvalues of the scaled response, which keeps the step finite where the density vanishes."""
VISIBLE = 1e-6
"""Density in 1/bohr above which potentials are compared."""


@dataclass(frozen=True)
class Inversion:
    """Kohn-Sham potential of a density and its parts, all (n,) and in hartree.

    Attributes:
        kohn_sham: Potential v_s; its highest occupied energy is minus the ionisation energy.
        hartree: Hartree potential.
        xc: Exchange-correlation potential v_s - v_ext - v_H.
        energies: (m,) occupied orbital energies in hartree.
        density: (n,) density of `kohn_sham` in 1/bohr.
        error: Largest difference of `density` from the given one, in 1/bohr.
        iterations: Number of Newton steps.
    """

    kohn_sham: np.ndarray
    hartree: np.ndarray
    xc: np.ndarray
    energies: np.ndarray
    density: np.ndarray
    error: float
    iterations: int


def one_orbital_potential(grid: Grid, density: np.ndarray) -> np.ndarray:
    """Return the potential (n,) in hartree whose lowest orbital is sqrt(n), with the orbital energy zero.

    v_s = (1/2) (d^2 sqrt(n) / dx^2) / sqrt(n), which holds for one or two electrons. The derivative is that of the grid, so the result is
    exact on the grid where the density is above 1e-12 of its largest value; further out the potential tends to zero.
    """
    amplitude = np.sqrt(density)
    return np.asarray(-grid.kinetic_of(amplitude) / np.maximum(amplitude, np.sqrt(FLOOR * density.max())))


def response(grid: Grid, potential: np.ndarray, electrons: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return what non-interacting electrons in `potential` (n,) do.

    Returns:
        The density (n,) in 1/bohr, its response (n, n) to the potential, dn(x) / dv(x') in 1/(bohr^2 hartree), the occupied energies (m,),
        and their sum with occupations, both in hartree.
    """
    f = occupations(electrons)
    energies, vectors = eigh(grid.kinetic + np.diag(potential))
    vectors /= np.sqrt(grid.spacing)
    m = len(f)
    total = np.zeros((len(grid), len(grid)))
    every = np.append(f, np.zeros(len(grid) - m))
    for i in range(m):
        # Transitions between orbitals of equal occupation cancel.
        others = every != every[i]
        factor = (f[i] - every[others]) / (energies[i] - energies[others])
        # A transition between two partly occupied levels belongs to both; each counts half.
        factor = np.where(every[others] > 0, factor / 2, factor)
        product = vectors[:, [i]] * vectors[:, others]
        total += 2 * (product * factor) @ product.T
    return vectors[:, :m] ** 2 @ f, total, energies[:m], float(f @ energies[:m])


def damped_start(grid: Grid, density: np.ndarray, electrons: int, start: np.ndarray, steps: int = DAMPED) -> np.ndarray:
    """Return a potential (n,) in hartree closer to that of `density`: it is raised where the density is too large.

    The rule v + mu (n^p - n_target^p) is the one of the program iDEA; R. van Leeuwen and E. J. Baerends, Phys. Rev. A 49, 2421 (1994),
    scale the potential by the ratio of the densities instead.
    """
    power, v = 0.1, start
    for _ in range(steps):
        v = v + 0.3 * (occupied(grid, v, electrons).density ** power - density**power)
    return v


def invert(well: Well, density: np.ndarray, electrons: int, ionisation: float) -> Inversion:
    """Return the Kohn-Sham potential of a density of interacting electrons.

    Newton's method maximises W[v] = sum_i f_i e_i[v] - int v n, whose gradient is the error of the density. W is concave, so a line search
    converges from any start; the start is the Fermi-Amaldi potential v_ext + (1 - 1/N) v_H. The constant of the potential is fixed by the
    ionisation theorem: the highest occupied energy is minus the ionisation energy (J. P. Perdew and M. Levy, Phys. Rev. B 56, 16021 (1997),
    doi 10.1103/PhysRevB.56.16021).

    Args:
        well: External potential.
        density: (n,) density in 1/bohr whose integral is `electrons`.
        electrons: Number of electrons.
        ionisation: Ionisation energy above the vacuum level in hartree.

    Raises:
        NucleateError: The error of the density stayed above 1e-8 /bohr, as it does if no potential on this grid has the density.
    """
    grid = well.grid
    v_hartree = grid.hartree(density)
    v = damped_start(grid, density, electrons, well.potential + (1 - 1 / electrons) * v_hartree)
    found, chi, energies, total = response(grid, v, electrons)
    scale = 1 / np.sqrt(density + FLOOR * density.max())
    null = 1 / scale / np.linalg.norm(1 / scale)
    steps = 0
    while not _close(found, density) and steps < ITERATIONS:
        matrix = -grid.spacing * scale[:, None] * chi * scale + np.outer(null, null) + SHIFT * np.eye(len(grid))
        step = scale * cho_solve(cho_factor(matrix), scale * (found - density))
        value = total - grid.integral(v * density)
        slope = grid.integral(step * (found - density))
        length = 1.0
        for _ in range(30):
            trial = response(grid, v + length * step, electrons)
            gain = trial[3] - grid.integral((v + length * step) * density) - value
            # Near the maximum the gain is lost in rounding, and the error itself decides.
            if gain >= 1e-4 * length * slope or np.abs(trial[0] - density).max() < 0.5 * np.abs(found - density).max():
                break
            length /= 2
        else:
            break
        v = v + length * step
        found, chi, energies, total = trial
        steps += 1
    error = float(np.abs(found - density).max())
    if error > CONVERGED:
        raise NucleateError(
            f"{well.name}: after {steps} Newton steps the density still differs by {error:.1e} /bohr from the given one; no potential on "
            "this grid may have this density: give a smooth density on a grid whose walls are far away"
        )
    shift = well.vacuum - ionisation - energies[-1]
    v = v + shift
    return Inversion(v, v_hartree, v - well.potential - v_hartree, energies + shift, found, error, steps)


def _close(found: np.ndarray, density: np.ndarray) -> bool:
    error = np.abs(found - density)
    return bool(error.max() < CONVERGED and (error < RELATIVE * np.maximum(density, VISIBLE)).all())
