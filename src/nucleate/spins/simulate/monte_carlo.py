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
from nucleate.spins.simulate.stencil import add_class_fields, copy_class, field_at, repeat_all, repeat_row
from nucleate.spins.simulate.vector_math import INLINE, KERNEL, exp_negative, log, sine_cosine, uniforms

FEW = 12
"""Number of spins of a class below which they are moved one by one."""
MANY = 40
"""Number of neighbours above which spins are moved one by one: the sum over neighbours, which gains little from classes, then dominates."""
UP_TO = 1e-6
"""Ratio of field to kT below which the heat bath draws uniformly from the sphere."""


@njit(**INLINE)
def _quadratic(x, y, z, k):
    """Return e . K . e in meV for an on-site tensor (3, 3)."""
    return k[0, 0] * x * x + k[1, 1] * y * y + k[2, 2] * z * z + 2.0 * (k[0, 1] * x * y + k[0, 2] * x * z + k[1, 2] * y * z)


@njit(**INLINE)
def _drawn(beta, x, y, z, u, v):
    """Return a spin with the weight exp(beta h . e) in the field h = (x, y, z) in meV, from random numbers u and v between 0 and 1."""
    h = np.sqrt(x * x + y * y + z * z)
    k = beta * h
    aligned = k > UP_TO
    safe = k if aligned else 1.0
    # cos(theta) by inversion. The sum is zero only if u is, and would be 1e-304 or more for an exact exponential.
    inner = u + (1.0 - u) * exp_negative(-2.0 * safe)
    cosine = 1.0 + log(max(inner, 1e-300)) / safe if aligned else 2.0 * u - 1.0
    # It leaves [-1, 1] only by rounding.
    cosine = min(1.0, max(-1.0, cosine))
    scale = 1.0 / h if aligned else 0.0
    ux, uy, uz = x * scale, y * scale, z * scale if aligned else 1.0
    radius = np.sqrt(1.0 - cosine * cosine)
    sine, other = sine_cosine(v)
    p, q = radius * other, radius * sine
    # Two vectors orthogonal to u (Duff et al. 2017, JCGT 6, 1).
    sign = 1.0 if uz >= 0.0 else -1.0
    a = -1.0 / (sign + uz)
    b = ux * uy * a
    return (
        cosine * ux + p * (1.0 + sign * ux * ux * a) + q * b,
        cosine * uy + p * sign * b + q * (sign + uy * uy * a),
        cosine * uz - p * sign * ux - q * uy,
    )


@njit(**INLINE)
def _rotated(hx, hy, hz, x, y, z):
    """Return the spin (x, y, z) rotated by pi around a field; without a field, it stays."""
    h2 = hx * hx + hy * hy + hz * hz
    still = h2 < 1e-30
    f = 2.0 * (x * hx + y * hy + z * hz) / (1.0 if still else h2)
    p, q, r = f * hx - x, f * hy - y, f * hz - z
    # Normalise, because rounding errors accumulate over millions of rotations.
    n = 1.5 - 0.5 * (p * p + q * q + r * r)
    return x if still else p * n, y if still else q * n, z if still else r * n


@njit(**INLINE)
def _refused(beta, k, new_x, new_y, new_z, x, y, z, u):
    """Return whether the change of the on-site energy is refused, with a random number u between 0 and 1."""
    gain = _quadratic(new_x, new_y, new_z, k) - _quadratic(x, y, z, k)
    return gain < 0.0 and u >= math.exp(beta * gain)


@njit(**INLINE)
def _draw_class(beta, rng, field, old, random, onsite, count):
    """Replace `count` fields in `field` (3, c) by spins drawn in them, or by `old` (3, c) where refused; return the number accepted."""
    hx, hy, hz, x, y, z = field[0], field[1], field[2], old[0], old[1], old[2]
    u, v, w = random[0], random[1], random[2]
    uniforms(u, count, rng)
    uniforms(v, count, rng)
    for c in range(count):
        hx[c], hy[c], hz[c] = _drawn(beta, hx[c], hy[c], hz[c], u[c], v[c])
    if onsite.shape[0] == 0:
        return count
    taken = 0
    uniforms(w, count, rng)
    for c in range(count):
        if _refused(beta, onsite, hx[c], hy[c], hz[c], x[c], y[c], z[c], w[c]):
            hx[c], hy[c], hz[c] = x[c], y[c], z[c]
        else:
            taken += 1
    return taken


@njit(**KERNEL)
def _sweep_singly(spins, site, beta, rng, rotate, stencil):
    """Run one sweep over the spins of a site, one by one; return the number of accepted moves."""
    # Arrays are taken out of the stencil once: each access in the loop would count references.
    flat, size, here = spins.reshape(-1), np.uintp(spins.shape[2]), 3 * site * spins.shape[2]
    rows, length, margin, repeats = stencil.rows, stencil.length, stencil.margin, stencil.repeats
    image_start, images = stencil.image_start, stencil.images
    places, strengths, tensors, zeeman, onsite = stencil.places, stencil.strengths, stencil.tensors, stencil.zeeman[site], stencil.onsite
    first, last = stencil.start[site], stencil.start[site + 1]
    taken = 0
    for r in range(len(rows)):
        for cell in range(length):
            hx, hy, hz = field_at(flat, size, rows[r] + cell, first, last, zeeman, places, strengths, tensors)
            p = np.uintp(here + rows[r] + cell)
            x, y, z = flat[p], flat[p + size], flat[p + size + size]
            if rotate:
                hx, hy, hz = _rotated(hx, hy, hz, x, y, z)
            else:
                hx, hy, hz = _drawn(beta, hx, hy, hz, rng.random(), rng.random())
            if onsite.shape[0] > 0 and _refused(beta, onsite[site], hx, hy, hz, x, y, z, rng.random()):
                continue
            taken += 1
            # The spin itself and its images in the margins.
            for i in range(image_start[r] - 1, image_start[r + 1]):
                start = here + (rows[r] if i < image_start[r] else images[i] + margin)
                for place in range(start + repeats[cell, 0], start + repeats[cell, 1] + 1, length):
                    q = np.uintp(place)
                    flat[q], flat[q + size], flat[q + size + size] = hx, hy, hz
    return taken


@njit(**KERNEL)
def _sweep_classes(spins, site, beta, rng, field, old, random, stencil):
    """Run one sweep of the heat bath over the spins of a site, class by class in each plane; return the number of accepted moves.

    `field`, `old` and `random` are work arrays (3, largest number of spins of a class).
    """
    taken, across = 0, stencil.across
    rows_apart, cells_apart = stencil.classes[site, 0], stencil.classes[site, 1]
    count = across // rows_apart * (stencil.length // cells_apart)
    onsite = stencil.onsite[site] if stencil.onsite.shape[0] > 0 else stencil.zeeman[:0]
    for plane in range(0, len(stencil.rows), across):
        for row in range(rows_apart):
            for cell in range(cells_apart):
                add_class_fields(field, site, plane + row, rows_apart, cell, cells_apart, spins, stencil)
                if onsite.shape[0] > 0:
                    copy_class(old, site, plane + row, rows_apart, cell, cells_apart, spins, stencil, False)
                taken += _draw_class(beta, rng, field, old, random, onsite, count)
                copy_class(field, site, plane + row, rows_apart, cell, cells_apart, spins, stencil, True)
                for r in range(plane + row, plane + across, rows_apart):
                    repeat_row(r, site, spins, stencil)
    return taken


@njit(**KERNEL)
def _heat_bath(spins, beta, rng, field, old, random, stencil):
    """Run one sweep of the heat bath over packed spins (n, 3, t); return the number of accepted moves."""
    taken = 0
    for site in range(spins.shape[0]):
        spins_of_class = stencil.across // stencil.classes[site, 0] * (stencil.length // stencil.classes[site, 1])
        if spins_of_class < FEW or stencil.start[site + 1] - stencil.start[site] > MANY:
            taken += _sweep_singly(spins, site, beta, rng, False, stencil)
        else:
            taken += _sweep_classes(spins, site, beta, rng, field, old, random, stencil)
    return taken


@njit(**KERNEL)
def _over_relax(spins, beta, rng, stencil):
    """Run one sweep over packed spins (n, 3, t) that rotates each spin by pi around the field of its neighbours."""
    for site in range(spins.shape[0]):
        _sweep_singly(spins, site, beta, rng, True, stencil)


class MonteCarlo:
    """Monte Carlo of a lattice.

    The heat bath draws the spins of a class (see `Stencil`), which do not interact, together where this is faster.

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
        for k in range(max(1, heat_bath)):
            if k < heat_bath:
                taken += _heat_bath(self._packed, beta, rng, self._field, self._old, self._random, stencil)
            for _ in range(over_relaxation):
                _over_relax(self._packed, beta, rng, stencil)
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
