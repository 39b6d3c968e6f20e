"""Stochastic Landau-Lifshitz-Gilbert dynamics.

    de/dt = -g / (1 + a^2) e x [ B + a e x B ],   B = (-dE/de) / m + b(t),   <b_x(t) b_x(t')> = 2 a kT / (g m) delta(t - t')

with the gyromagnetic ratio g, the damping a and the moment m. Each component of the thermal field b is normally distributed with variance
2 a kT / (g m dt) (R. F. L. Evans et al., J. Phys.: Condens. Matter 26, 103202 (2014), doi 10.1088/0953-8984/26/10/103202) and constant
during a step, as required by the Stratonovich interpretation (J. L. García-Palacios, F. J. Lázaro, Phys. Rev. B 58, 14937 (1998),
doi 10.1103/PhysRevB.58.14937).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nucleate.errors import BadInput
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.stencil import add_fields, place_in_block, repeat_all, repeat_row
from nucleate.spins.simulate.vector_math import INLINE, KERNEL, normals
from nucleate.units import GYROMAGNETIC, K_B, MU_B

CHUNK = 2048
"""Number of normal numbers drawn at a time, so that they stay in the cache."""


@njit(**INLINE)
def _draw(noise, width, uniform, rng):
    for site in range(noise.shape[0]):
        if width[site] > 0.0:
            normals(noise[site].reshape(-1), width[site], uniform, rng)


@njit(**INLINE)
def _turn(bx, by, bz, x, y, z, site, damping, scale, noise_x, noise_y, noise_z, onsite):
    """Turn fields (c,) in meV of the spins x, y, z into rotations w = B + a e x B, with de = w x e, in rad per step, in place."""
    if onsite.shape[0] > 0:
        k = 2.0 * onsite[site]
        xx, xy, xz, yy, yz, zz = k[0, 0], k[0, 1], k[0, 2], k[1, 1], k[1, 2], k[2, 2]
        for c in range(len(x)):
            bx[c] += xx * x[c] + xy * y[c] + xz * z[c]
            by[c] += xy * x[c] + yy * y[c] + yz * z[c]
            bz[c] += xz * x[c] + yz * y[c] + zz * z[c]
    for c in range(len(x)):
        p, q, r = bx[c] * scale + noise_x[c], by[c] * scale + noise_y[c], bz[c] * scale + noise_z[c]
        bx[c] = p + damping * (y[c] * r - z[c] * q)
        by[c] = q + damping * (z[c] * p - x[c] * r)
        bz[c] = r + damping * (x[c] * q - y[c] * p)


@njit(**KERNEL)
def heun(spins, steps, damping, scale, width, rng, noise, guess, slope, uniform, stencil):
    """Run `steps` of Heun's scheme in place on packed spins (n, 3, t); spins are normalised after each step."""
    count, rows = stencil.length, stencil.rows
    field = np.empty((3, place_in_block(0, stencil)[1]))
    for _ in range(steps):
        _draw(noise, width, uniform, rng)
        for site in range(spins.shape[0]):
            for r in range(len(rows)):
                o, (at, cells) = rows[r], place_in_block(r, stencil)
                if at == 0:
                    add_fields(field[:, :cells], site, o, 1, spins, stencil)
                bx, by, bz = field[0, at : at + count], field[1, at : at + count], field[2, at : at + count]
                x, y, z = spins[site, 0, o : o + count], spins[site, 1, o : o + count], spins[site, 2, o : o + count]
                nx, ny, nz = noise[site, 0, r], noise[site, 1, r], noise[site, 2, r]
                _turn(bx, by, bz, x, y, z, site, damping, scale[site], nx, ny, nz, stencil.onsite)
                sx, sy, sz = slope[site, 0, r], slope[site, 1, r], slope[site, 2, r]
                gx, gy, gz = guess[site, 0, o : o + count], guess[site, 1, o : o + count], guess[site, 2, o : o + count]
                for c in range(count):
                    dx, dy, dz = by[c] * z[c] - bz[c] * y[c], bz[c] * x[c] - bx[c] * z[c], bx[c] * y[c] - by[c] * x[c]
                    sx[c], sy[c], sz[c] = dx, dy, dz
                    gx[c], gy[c], gz[c] = x[c] + dx, y[c] + dy, z[c] + dz
                repeat_row(r, site, guess, stencil)
        for site in range(spins.shape[0]):
            for r in range(len(rows)):
                o, (at, cells) = rows[r], place_in_block(r, stencil)
                if at == 0:
                    add_fields(field[:, :cells], site, o, 1, guess, stencil)
                bx, by, bz = field[0, at : at + count], field[1, at : at + count], field[2, at : at + count]
                gx, gy, gz = guess[site, 0, o : o + count], guess[site, 1, o : o + count], guess[site, 2, o : o + count]
                nx, ny, nz = noise[site, 0, r], noise[site, 1, r], noise[site, 2, r]
                _turn(bx, by, bz, gx, gy, gz, site, damping, scale[site], nx, ny, nz, stencil.onsite)
                sx, sy, sz = slope[site, 0, r], slope[site, 1, r], slope[site, 2, r]
                x, y, z = spins[site, 0, o : o + count], spins[site, 1, o : o + count], spins[site, 2, o : o + count]
                for c in range(count):
                    p = x[c] + 0.5 * (sx[c] + by[c] * gz[c] - bz[c] * gy[c])
                    q = y[c] + 0.5 * (sy[c] + bz[c] * gx[c] - bx[c] * gz[c])
                    s = z[c] + 0.5 * (sz[c] + bx[c] * gy[c] - by[c] * gx[c])
                    n = 1.0 / np.sqrt(p * p + q * q + s * s)
                    x[c], y[c], z[c] = p * n, q * n, s * n
                repeat_row(r, site, spins, stencil)


@njit(**INLINE)
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


@njit(**KERNEL)
def semi_implicit(spins, steps, damping, scale, width, rng, noise, guess, slope, uniform, stencil):
    """Run `steps` of the semi-implicit scheme B in place on packed spins (J. H. Mentink et al., J. Phys.: Condens. Matter 22, 176001
    (2010), doi 10.1088/0953-8984/22/17/176001). Spins are rotated, so their length is conserved."""
    count, rows = stencil.length, stencil.rows
    field = np.empty((3, place_in_block(0, stencil)[1]))
    for _ in range(steps):
        _draw(noise, width, uniform, rng)
        for site in range(spins.shape[0]):
            for r in range(len(rows)):
                o, (at, cells) = rows[r], place_in_block(r, stencil)
                if at == 0:
                    add_fields(field[:, :cells], site, o, 1, spins, stencil)
                bx, by, bz = field[0, at : at + count], field[1, at : at + count], field[2, at : at + count]
                x, y, z = spins[site, 0, o : o + count], spins[site, 1, o : o + count], spins[site, 2, o : o + count]
                nx, ny, nz = noise[site, 0, r], noise[site, 1, r], noise[site, 2, r]
                _turn(bx, by, bz, x, y, z, site, damping, scale[site], nx, ny, nz, stencil.onsite)
                gx, gy, gz = guess[site, 0, o : o + count], guess[site, 1, o : o + count], guess[site, 2, o : o + count]
                for c in range(count):
                    p, q, s = _cayley(x[c], y[c], z[c], bx[c], by[c], bz[c])
                    gx[c], gy[c], gz[c] = 0.5 * (x[c] + p), 0.5 * (y[c] + q), 0.5 * (z[c] + s)
                repeat_row(r, site, guess, stencil)
        for site in range(spins.shape[0]):
            for r in range(len(rows)):
                o, (at, cells) = rows[r], place_in_block(r, stencil)
                if at == 0:
                    add_fields(field[:, :cells], site, o, 1, guess, stencil)
                bx, by, bz = field[0, at : at + count], field[1, at : at + count], field[2, at : at + count]
                gx, gy, gz = guess[site, 0, o : o + count], guess[site, 1, o : o + count], guess[site, 2, o : o + count]
                nx, ny, nz = noise[site, 0, r], noise[site, 1, r], noise[site, 2, r]
                _turn(bx, by, bz, gx, gy, gz, site, damping, scale[site], nx, ny, nz, stencil.onsite)
                x, y, z = spins[site, 0, o : o + count], spins[site, 1, o : o + count], spins[site, 2, o : o + count]
                for c in range(count):
                    x[c], y[c], z[c] = _cayley(x[c], y[c], z[c], bx[c], by[c], bz[c])
                repeat_row(r, site, spins, stencil)


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
        stencil = lattice.stencil
        turn = GYROMAGNETIC * timestep / (1 + damping**2)
        # Conversion from the field in meV to the rotation angle per step.
        self._scale = turn / (MU_B * stencil.moments)
        # kT / mu_B has the unit tesla times Bohr magneton.
        self._width = turn * np.sqrt(2 * damping * (K_B * temperature / MU_B) / (GYROMAGNETIC * stencil.moments * timestep))
        self._packed, self._guess = lattice.empty(), lattice.empty()
        shape = (len(stencil.moments), 3, len(stencil.rows), stencil.length)
        self._noise = np.zeros(shape)
        self._slope = np.zeros(shape) if scheme == "heun" else self._noise
        self._uniform = np.empty(CHUNK)

    def run(self, spins: np.ndarray, steps: int, rng: np.random.Generator) -> None:
        """Integrate `spins` (N, 3) in place."""
        self.lattice.pack(spins, self._packed)
        repeat_all(self._packed, self.lattice.stencil)
        self._kernel(
            self._packed, steps, self.damping, self._scale, self._width, rng, self._noise, self._guess, self._slope, self._uniform,
            self.lattice.stencil,
        )  # fmt: skip
        self.lattice.unpack(self._packed, spins)
