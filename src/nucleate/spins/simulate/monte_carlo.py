"""Monte Carlo of classical spins with heat bath, over-relaxation and parallel tempering.

The heat bath draws a spin from exp(e . h / kT) in the field h of its neighbours; over-relaxation rotates it by pi around h at constant
energy. An on-site anisotropy is not linear in e; both moves are then accepted with the Metropolis probability of this term.
J. A. Olive, A. P. Young, D. Sherrington, Phys. Rev. B 34, 6341 (1986), doi 10.1103/PhysRevB.34.6341 (heat bath);
M. Creutz, Phys. Rev. D 36, 515 (1987), doi 10.1103/PhysRevD.36.515 (over-relaxation);
K. Hukushima, K. Nemoto, J. Phys. Soc. Jpn. 65, 1604 (1996), doi 10.1143/JPSJ.65.1604 (replica exchange).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.spins.simulate.fields import linear_field, onsite_field

UP_TO = 1e-6
"""Ratio of field to kT below which the heat bath draws uniformly from the sphere."""


@njit(inline="always")
def _quadratic(i, x, y, z, onsite):
    """Return e . K . e in meV."""
    a, b, c = onsite_field(i, x, y, z, onsite)
    return 0.5 * (x * a + y * b + z * c)


@njit(cache=True, nogil=True)
def heat_bath(spins, beta, rng, start, neighbours, strengths, tensors, onsite, zeeman):
    """Run one sweep over all spins in order, in place, with beta in 1/meV; return the number of accepted moves."""
    taken = 0
    for i in range(spins.shape[0]):
        hx, hy, hz = linear_field(i, spins, start, neighbours, strengths, tensors, zeeman)
        h = math.sqrt(hx * hx + hy * hy + hz * hz)
        k = beta * h
        u = rng.random()
        if k > UP_TO:
            # cos(theta) by inversion; 1 + log(...) / k leaves [-1, 1] only by rounding.
            c = 1.0 + math.log(u + (1.0 - u) * math.exp(-2.0 * k)) / k
            c = min(1.0, max(-1.0, c))
            ux, uy, uz = hx / h, hy / h, hz / h
        else:
            c = 2.0 * u - 1.0
            ux, uy, uz = 0.0, 0.0, 1.0
        # Azimuthal direction without trigonometric functions, from a point in the unit disc.
        while True:
            p = 2.0 * rng.random() - 1.0
            q = 2.0 * rng.random() - 1.0
            r2 = p * p + q * q
            if 0.0 < r2 < 1.0:
                break
        s = math.sqrt((1.0 - c * c) / r2)
        p, q = p * s, q * s
        # Two vectors orthogonal to u (Duff et al. 2017, JCGT 6, 1).
        sign = 1.0 if uz >= 0.0 else -1.0
        a = -1.0 / (sign + uz)
        b = ux * uy * a
        x = c * ux + p * (1.0 + sign * ux * ux * a) + q * b
        y = c * uy + p * sign * b + q * (sign + uy * uy * a)
        z = c * uz - p * sign * ux - q * uy
        if onsite.shape[0] > 0:
            gain = _quadratic(i, x, y, z, onsite) - _quadratic(i, spins[i, 0], spins[i, 1], spins[i, 2], onsite)
            if gain < 0.0 and rng.random() >= math.exp(beta * gain):
                continue
        taken += 1
        spins[i, 0], spins[i, 1], spins[i, 2] = x, y, z
    return taken


@njit(cache=True, nogil=True)
def over_relax(spins, beta, rng, start, neighbours, strengths, tensors, onsite, zeeman):
    """Run one sweep in place that rotates each spin by pi around the field of its neighbours."""
    for i in range(spins.shape[0]):
        hx, hy, hz = linear_field(i, spins, start, neighbours, strengths, tensors, zeeman)
        h2 = hx * hx + hy * hy + hz * hz
        if h2 < 1e-30:
            continue
        x, y, z = spins[i, 0], spins[i, 1], spins[i, 2]
        f = 2.0 * (x * hx + y * hy + z * hz) / h2
        a, b, c = f * hx - x, f * hy - y, f * hz - z
        if onsite.shape[0] > 0:
            gain = _quadratic(i, a, b, c, onsite) - _quadratic(i, x, y, z, onsite)
            if gain < 0.0 and rng.random() >= math.exp(beta * gain):
                continue
        # Normalise, because rounding errors accumulate over millions of rotations.
        n = 1.5 - 0.5 * (a * a + b * b + c * c)
        spins[i, 0], spins[i, 1], spins[i, 2] = a * n, b * n, c * n


def swap_replicas(energies: np.ndarray, betas: np.ndarray, odd: bool, rng: np.random.Generator) -> np.ndarray:
    """Attempt exchanges between replicas at neighbouring temperatures.

    Args:
        energies: (t,) energies of the replicas in meV, in the order of `betas`.
        betas: (t,) inverse temperatures in 1/meV.
        odd: Whether the pairs start with the second temperature.
        rng: Random generator.

    Returns:
        Permutation (t,): the replica at each temperature after the exchanges.
    """
    order = np.arange(len(betas))
    lower = np.arange(int(odd), len(betas) - 1, 2)
    gain = (betas[lower] - betas[lower + 1]) * (energies[lower] - energies[lower + 1])
    yes = lower[np.log(np.maximum(rng.random(len(lower)), 1e-300)) < gain]
    order[yes], order[yes + 1] = yes + 1, yes
    return order
