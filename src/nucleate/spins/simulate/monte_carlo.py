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

from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.stencil import add_class_fields, move_class, repeat_all, repeat_row
from nucleate.spins.simulate.vector_math import INLINE, KERNEL, exp_negative, log, sine_cosine, uniforms

UP_TO = 1e-6
"""Ratio of field to kT below which the heat bath draws uniformly from the sphere."""


@njit(**INLINE)
def _quadratic(x, y, z, k):
    """Return e . K . e in meV for an on-site tensor (3, 3)."""
    return k[0, 0] * x * x + k[1, 1] * y * y + k[2, 2] * z * z + 2.0 * (k[0, 1] * x * y + k[0, 2] * x * z + k[1, 2] * y * z)


@njit(**INLINE)
def _draw(beta, hx, hy, hz, u, v, count):
    """Replace `count` fields in meV by spins with the weights exp(beta h . e), from random numbers u and v between 0 and 1."""
    for c in range(count):
        x, y, z = hx[c], hy[c], hz[c]
        h = np.sqrt(x * x + y * y + z * z)
        k = beta * h
        aligned = k > UP_TO
        safe = k if aligned else 1.0
        # cos(theta) by inversion. The sum is zero only if u is, and would be 1e-304 or more for an exact exponential.
        inner = u[c] + (1.0 - u[c]) * exp_negative(-2.0 * safe)
        cosine = 1.0 + log(max(inner, 1e-300)) / safe if aligned else 2.0 * u[c] - 1.0
        # It leaves [-1, 1] only by rounding.
        cosine = min(1.0, max(-1.0, cosine))
        scale = 1.0 / h if aligned else 0.0
        ux, uy, uz = x * scale, y * scale, z * scale if aligned else 1.0
        radius = np.sqrt(1.0 - cosine * cosine)
        sine, other = sine_cosine(v[c])
        p, q = radius * other, radius * sine
        # Two vectors orthogonal to u (Duff et al. 2017, JCGT 6, 1).
        sign = 1.0 if uz >= 0.0 else -1.0
        a = -1.0 / (sign + uz)
        b = ux * uy * a
        hx[c] = cosine * ux + p * (1.0 + sign * ux * ux * a) + q * b
        hy[c] = cosine * uy + p * sign * b + q * (sign + uy * uy * a)
        hz[c] = cosine * uz - p * sign * ux - q * uy


@njit(**INLINE)
def _rotate(hx, hy, hz, x, y, z, count):
    """Replace `count` fields by spins x, y, z rotated by pi around them; without a field, a spin stays."""
    for c in range(count):
        h2 = hx[c] * hx[c] + hy[c] * hy[c] + hz[c] * hz[c]
        still = h2 < 1e-30
        f = 2.0 * (x[c] * hx[c] + y[c] * hy[c] + z[c] * hz[c]) / (1.0 if still else h2)
        sign = 1.0 if still else -1.0
        p, q, r = f * hx[c] + sign * x[c], f * hy[c] + sign * y[c], f * hz[c] + sign * z[c]
        # Normalise, because rounding errors accumulate over millions of rotations.
        n = x[c] if still else 1.5 - 0.5 * (p * p + q * q + r * r)
        hx[c] = x[c] if still else p * n
        hy[c] = y[c] if still else q * n
        hz[c] = z[c] if still else r * n


@njit(**INLINE)
def _accept(beta, k, hx, hy, hz, x, y, z, u, count):
    """Put back the old spins x, y, z where the gain of the on-site energy is refused; return the number of new ones."""
    taken = 0
    for c in range(count):
        gain = _quadratic(hx[c], hy[c], hz[c], k) - _quadratic(x[c], y[c], z[c], k)
        if gain < 0.0 and u[c] >= math.exp(beta * gain):
            hx[c], hy[c], hz[c] = x[c], y[c], z[c]
        else:
            taken += 1
    return taken


@njit(**KERNEL)
def _sweep(spins, beta, rng, rotate, field, old, random, stencil):
    """Run one sweep of either move over packed spins (n, 3, t), class by class in each plane; return the number of accepted moves.

    `field`, `old` and `random` are work arrays (3, largest number of spins of a class).
    """
    taken, across = 0, stencil.across
    hx, hy, hz, x, y, z = field[0], field[1], field[2], old[0], old[1], old[2]
    for site in range(spins.shape[0]):
        rows_apart, cells_apart = stencil.classes[site, 0], stencil.classes[site, 1]
        count = across // rows_apart * (stencil.length // cells_apart)
        for plane in range(0, len(stencil.rows), across):
            for row in range(rows_apart):
                for cell in range(cells_apart):
                    add_class_fields(field, site, plane + row, rows_apart, cell, cells_apart, spins, stencil)
                    move_class(old, site, plane + row, rows_apart, cell, cells_apart, spins, stencil, False)
                    if rotate:
                        _rotate(hx, hy, hz, x, y, z, count)
                    else:
                        uniforms(random[0], count, rng)
                        uniforms(random[1], count, rng)
                        _draw(beta, hx, hy, hz, random[0], random[1], count)
                    if stencil.onsite.shape[0] > 0:
                        uniforms(random[2], count, rng)
                        taken += _accept(beta, stencil.onsite[site], hx, hy, hz, x, y, z, random[2], count)
                    else:
                        taken += count
                    move_class(field, site, plane + row, rows_apart, cell, cells_apart, spins, stencil, True)
                    for r in range(plane + row, plane + across, rows_apart):
                        repeat_row(r, site, spins, stencil)
    return taken


class MonteCarlo:
    """Monte Carlo of a lattice. Spins of a class (see `Stencil`) do not interact, and are moved together.

    Args:
        lattice: Spin lattice.
    """

    def __init__(self, lattice: SpinLattice):
        self.lattice = lattice
        self._packed = lattice.empty()
        most = lattice.stencil.across * lattice.stencil.length
        self._field, self._old, self._random = (np.empty((3, most)) for _ in range(3))

    def run(self, spins: np.ndarray, beta: float, rng: np.random.Generator, heat_bath: int = 1, over_relaxation: int = 0) -> int:
        """Move `spins` (N, 3) in place.

        Args:
            spins: (N, 3) unit vectors.
            beta: Inverse temperature in 1/meV.
            rng: Random generator.
            heat_bath: Number of heat-bath sweeps.
            over_relaxation: Number of over-relaxation sweeps after each of these; without heat-bath sweeps, their number.

        Returns:
            Number of accepted moves of the heat bath.
        """
        stencil, taken = self.lattice.stencil, 0
        self.lattice.pack(spins, self._packed)
        repeat_all(self._packed, stencil)
        work = (self._field, self._old, self._random, stencil)
        for k in range(max(1, heat_bath)):
            if k < heat_bath:
                taken += _sweep(self._packed, beta, rng, False, *work)
            for _ in range(over_relaxation):
                _sweep(self._packed, beta, rng, True, *work)
        self.lattice.unpack(self._packed, spins)
        return taken


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
