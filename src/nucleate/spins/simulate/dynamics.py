"""Stochastic Landau-Lifshitz-Gilbert dynamics.

    de/dt = -g / (1 + a^2) e x [ B + a e x B ],   B = (-dE/de) / m + b(t),   <b_x(t) b_x(t')> = 2 a kT / (g m) delta(t - t')

with the gyromagnetic ratio g, the damping a and the moment m. Each component of the thermal field b is normally distributed with variance
2 a kT / (g m dt) (R. F. L. Evans et al., J. Phys.: Condens. Matter 26, 103202 (2014), doi 10.1088/0953-8984/26/10/103202) and constant
during a step, as required by the Stratonovich interpretation (J. L. García-Palacios, F. J. Lázaro, Phys. Rev. B 58, 14937 (1998),
doi 10.1103/PhysRevB.58.14937).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.errors import BadInput
from nucleate.spins.simulate.fields import linear_field, onsite_field, tables
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.units import GYROMAGNETIC, K_B, MU_B


@njit(inline="always")
def _turning(i, spins, damping, noise, scale, start, neighbours, strengths, tensors, onsite, zeeman):
    """Return the rotation w = B + a e x B of spin i, with de = w x e, in rad per step."""
    x, y, z = spins[i, 0], spins[i, 1], spins[i, 2]
    bx, by, bz = linear_field(i, spins, start, neighbours, strengths, tensors, zeeman)
    if onsite.shape[0] > 0:
        kx, ky, kz = onsite_field(i, x, y, z, onsite)
        bx, by, bz = bx + kx, by + ky, bz + kz
    s = scale[i]
    bx, by, bz = bx * s + noise[i, 0], by * s + noise[i, 1], bz * s + noise[i, 2]
    return (
        bx + damping * (y * bz - z * by),
        by + damping * (z * bx - x * bz),
        bz + damping * (x * by - y * bx),
    )


@njit(cache=True, nogil=True)
def _draw(noise, width, rng):
    for i in range(noise.shape[0]):
        if width[i] > 0.0:
            noise[i, 0] = width[i] * rng.standard_normal()
            noise[i, 1] = width[i] * rng.standard_normal()
            noise[i, 2] = width[i] * rng.standard_normal()


@njit(cache=True, nogil=True)
def heun(spins, steps, damping, scale, width, rng, noise, guess, slope, start, neighbours, strengths, tensors, onsite, zeeman):
    """Run `steps` of Heun's scheme in place; spins are normalised after each step."""
    for _ in range(steps):
        _draw(noise, width, rng)
        for i in range(spins.shape[0]):
            wx, wy, wz = _turning(i, spins, damping, noise, scale, start, neighbours, strengths, tensors, onsite, zeeman)
            x, y, z = spins[i, 0], spins[i, 1], spins[i, 2]
            dx, dy, dz = wy * z - wz * y, wz * x - wx * z, wx * y - wy * x
            slope[i, 0], slope[i, 1], slope[i, 2] = dx, dy, dz
            guess[i, 0], guess[i, 1], guess[i, 2] = x + dx, y + dy, z + dz
        for i in range(spins.shape[0]):
            wx, wy, wz = _turning(i, guess, damping, noise, scale, start, neighbours, strengths, tensors, onsite, zeeman)
            x, y, z = guess[i, 0], guess[i, 1], guess[i, 2]
            a = spins[i, 0] + 0.5 * (slope[i, 0] + wy * z - wz * y)
            b = spins[i, 1] + 0.5 * (slope[i, 1] + wz * x - wx * z)
            c = spins[i, 2] + 0.5 * (slope[i, 2] + wx * y - wy * x)
            n = 1.0 / math.sqrt(a * a + b * b + c * c)
            spins[i, 0], spins[i, 1], spins[i, 2] = a * n, b * n, c * n


@njit(inline="always")
def _cayley(x, y, z, wx, wy, wz):
    """Solve e' = e + w x (e + e') / 2 for e', which is a rotation and conserves the length."""
    ax, ay, az = 0.5 * wx, 0.5 * wy, 0.5 * wz
    a2 = ax * ax + ay * ay + az * az
    d = ax * x + ay * y + az * z
    f = 1.0 / (1.0 + a2)
    cx, cy, cz = ay * z - az * y, az * x - ax * z, ax * y - ay * x
    return (
        f * ((1.0 - a2) * x + 2.0 * (d * ax + cx)),
        f * ((1.0 - a2) * y + 2.0 * (d * ay + cy)),
        f * ((1.0 - a2) * z + 2.0 * (d * az + cz)),
    )


@njit(cache=True, nogil=True)
def semi_implicit(spins, steps, damping, scale, width, rng, noise, guess, slope, start, neighbours, strengths, tensors, onsite, zeeman):
    """Run `steps` of the semi-implicit scheme B in place (J. H. Mentink et al., J. Phys.: Condens. Matter 22, 176001 (2010),
    doi 10.1088/0953-8984/22/17/176001). Spins are rotated, so their length is conserved."""
    for _ in range(steps):
        _draw(noise, width, rng)
        for i in range(spins.shape[0]):
            wx, wy, wz = _turning(i, spins, damping, noise, scale, start, neighbours, strengths, tensors, onsite, zeeman)
            x, y, z = spins[i, 0], spins[i, 1], spins[i, 2]
            a, b, c = _cayley(x, y, z, wx, wy, wz)
            guess[i, 0], guess[i, 1], guess[i, 2] = 0.5 * (x + a), 0.5 * (y + b), 0.5 * (z + c)
        for i in range(spins.shape[0]):
            wx, wy, wz = _turning(i, guess, damping, noise, scale, start, neighbours, strengths, tensors, onsite, zeeman)
            slope[i, 0], slope[i, 1], slope[i, 2] = wx, wy, wz
        for i in range(spins.shape[0]):
            a, b, c = _cayley(spins[i, 0], spins[i, 1], spins[i, 2], slope[i, 0], slope[i, 1], slope[i, 2])
            spins[i, 0], spins[i, 1], spins[i, 2] = a, b, c


SCHEMES = {"heun": heun, "semi-implicit": semi_implicit}


class Dynamics:
    """Stochastic spin dynamics of a lattice.

    Args:
        lattice: Spin lattice.
        timestep: Time step in fs.
        damping: Dimensionless Gilbert damping.
        temperature: Temperature in K.
        scheme: Integrator, "heun" or "semi-implicit".

    Raises:
        BadInput: The time step is not positive, the damping or temperature is negative, or the scheme is unknown.
    """

    def __init__(self, lattice: SpinLattice, timestep: float, damping: float, temperature: float = 0.0, scheme: str = "semi-implicit"):
        if not timestep > 0:
            raise BadInput(f"dynamics: timestep {timestep:g} fs is not positive; give a value above zero")
        if not damping >= 0:
            raise BadInput(f"dynamics: damping {damping:g} is not a valid value; give zero or more")
        if not temperature >= 0:
            raise BadInput(f"dynamics: temperature {temperature:g} K is not a valid value; give zero or more")
        if scheme not in SCHEMES:
            raise BadInput(f"dynamics: unknown scheme {scheme}; choose from {', '.join(SCHEMES)}")
        self.lattice, self.timestep, self.damping = lattice, timestep, damping
        self._kernel = SCHEMES[scheme]
        self._tables = tables(lattice)
        turn = GYROMAGNETIC * timestep / (1 + damping**2)
        # Conversion from the field in meV to the rotation angle per step.
        self._scale = turn / (MU_B * lattice.moments)
        # kT / mu_B has the unit tesla times Bohr magneton.
        self._width = turn * np.sqrt(2 * damping * (K_B * temperature / MU_B) / (GYROMAGNETIC * lattice.moments * timestep))
        self._noise, self._guess, self._slope = (np.zeros((len(lattice), 3)) for _ in range(3))

    def run(self, spins: np.ndarray, steps: int, rng: np.random.Generator) -> None:
        """Integrate `spins` (N, 3) in place."""
        self._kernel(
            spins, steps, self.damping, self._scale, self._width, rng, self._noise, self._guess, self._slope, *self._tables
        )  # fmt: skip
