"""Pulay stress of a plane-wave calculation, from the wave functions at the cutoff.

The stress that GPAW calculates is the derivative of the energy at a fixed number of plane waves. Energies of cells of different volume are
those of a fixed cutoff, with different numbers of plane waves. The difference of the two derivatives is isotropic,

    sigma_Pulay = (2/3) (E_cut / V) dE/dE_cut

(G. P. Francis and M. C. Payne, J. Phys.: Condens. Matter 2, 4395 (1990), doi 10.1088/0953-8984/2/19/007). The derivative is usually taken
from a second calculation at another cutoff. Here it is taken from the wave functions of one calculation: by second-order perturbation
theory, a plane wave G that is added to the basis lowers the energy by f |c_G|^2 (<G|H|G> - epsilon) for each state with occupation f, where
c_G is its coefficient. Just outside the cutoff, the coefficients continue those just inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.units import Ha
from scipy.optimize import brentq

WINDOW = 0.25
"""Width of the range of kinetic energies below the cutoff whose plane waves are extrapolated to the cutoff, as a fraction of the cutoff."""
TOP = 0.7
"""Where in this range plane waves have the largest weight."""
STEEPEST = 60.0
"""Largest rate of the decay that is fitted."""


def pulay_stress(calculator: Any) -> float:
    """Return the diagonal element of the Pulay stress, to be added to GPAW's stress, eV/Å³.

    It is negative: at a fixed cutoff, a larger cell has more plane waves. <G|H|G> is approximated by the kinetic energy.

    Args:
        calculator: `gpaw.GPAW` with plane waves, after a calculation that has converged.
    """
    from gpaw.mpi import world

    sums = np.zeros(2)
    for wfs in calculator.dft.ibzwfs:
        psit = wfs.psit_nX
        x = np.asarray(psit.desc.ekin_G) / psit.desc.ecut
        near = x > 1 - WINDOW
        x = x[near]
        # Of the plane waves of a real wave function, half are stored.
        stored = 2.0 if psit.desc.dtype == float else 1.0
        # Each rank of MPI has some of the states and plane waves.
        occupations = np.asarray(wfs.myocc_n) * wfs.weight * wfs.spin_degeneracy * psit.desc.dv * stored
        squares = np.abs(np.asarray(psit.data)[:, near]) ** 2
        gains = occupations @ (squares * (psit.desc.ecut * x - np.asarray(wfs.myeig_n)[:, None]))
        sums += _sums(x, gains)
    world.sum(sums)
    return float(-2 / 3 * _at_cutoff(*sums) * Ha / calculator.get_atoms().get_volume())


def _sums(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sums of weights and of weights times x^2 in the window.

    The weights fade out towards both ends of the window, so that plane waves that cross an end do not change the result at once.

    Args:
        x: (n,) positions between 1 - `WINDOW` and 1.
        weights: (n,) positive weights.
    """
    faded = weights * _fade(x)
    return np.array([faded.sum(), faded @ x**2])


def _at_cutoff(total: float, second: float) -> float:
    """Return the density at x = 1, if it is A exp(-B x^2), of weights with these sums (`_sums`)."""
    if total <= 0.0:
        return 0.0
    mean = second / total
    # Midpoints of equal intervals: integrals are means times the width.
    grid = 1 - WINDOW * (np.arange(400) + 0.5) / 400
    window = _fade(grid)

    def excess(rate: float) -> float:
        density = window * np.exp(rate * (1 - grid**2))
        return float(density @ grid**2 / density.sum()) - mean

    # Rates beyond the bounds are those of a handful of plane waves.
    low, high = -STEEPEST, STEEPEST
    rate = low if excess(low) < 0 else high if excess(high) > 0 else brentq(excess, low, high)
    return float(total) / (WINDOW * float((window * np.exp(rate * (1 - grid**2))).mean()))


def _fade(x: np.ndarray) -> np.ndarray:
    """Return the weight of positions in the window: it rises smoothly from 0 to 1 at `TOP`, and falls to 0 at the cutoff."""
    u = (x - 1) / WINDOW + 1
    rise = np.clip(np.where(u < TOP, u / TOP, (1 - u) / (1 - TOP)), 0.0, 1.0)
    return rise * rise * (3 - 2 * rise)  # type: ignore[no-any-return]
