"""Numba kernels for energies and effective fields of spins on a lattice.

The effective field of a spin is -dE/de in meV: sum_j J_ij e_j + 2 K e_i + mu_B m B.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nucleate.spins.simulate.lattice import SpinLattice

Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def tables(lattice: SpinLattice) -> Tables:
    """Return the kernel arguments start, neighbours, strengths, tensors, onsite, zeeman; absent terms are empty arrays."""
    onsite = lattice.onsite if lattice.anisotropic else np.empty((0, 3, 3))
    return lattice.start, lattice.neighbours, lattice.strengths, lattice.tensors, onsite, lattice.zeeman


@njit(inline="always")
def linear_field(i, spins, start, neighbours, strengths, tensors, zeeman):
    """Return the field on spin i in meV from its neighbours and the external field, without on-site terms."""
    x, y, z = zeeman[i, 0], zeeman[i, 1], zeeman[i, 2]
    if tensors.shape[0] == 0:
        for k in range(start[i], start[i + 1]):
            j, s = neighbours[k], strengths[k]
            x += s * spins[j, 0]
            y += s * spins[j, 1]
            z += s * spins[j, 2]
    else:
        for k in range(start[i], start[i + 1]):
            j = neighbours[k]
            a, b, c = spins[j, 0], spins[j, 1], spins[j, 2]
            x += tensors[k, 0, 0] * a + tensors[k, 0, 1] * b + tensors[k, 0, 2] * c
            y += tensors[k, 1, 0] * a + tensors[k, 1, 1] * b + tensors[k, 1, 2] * c
            z += tensors[k, 2, 0] * a + tensors[k, 2, 1] * b + tensors[k, 2, 2] * c
    return x, y, z


@njit(inline="always")
def onsite_field(i, x, y, z, onsite):
    """Return the on-site field 2 K e of a spin (x, y, z) in meV."""
    a = onsite[i, 0, 0] * x + onsite[i, 0, 1] * y + onsite[i, 0, 2] * z
    b = onsite[i, 1, 0] * x + onsite[i, 1, 1] * y + onsite[i, 1, 2] * z
    c = onsite[i, 2, 0] * x + onsite[i, 2, 1] * y + onsite[i, 2, 2] * z
    return 2.0 * a, 2.0 * b, 2.0 * c


@njit(cache=True, nogil=True)
def _energy(spins, start, neighbours, strengths, tensors, onsite, zeeman):
    total = 0.0
    for i in range(spins.shape[0]):
        x, y, z = linear_field(i, spins, start, neighbours, strengths, tensors, zeeman)
        a, b, c = spins[i, 0], spins[i, 1], spins[i, 2]
        # Every pair occurs twice, so neighbours count half.
        total -= 0.5 * (a * (x + zeeman[i, 0]) + b * (y + zeeman[i, 1]) + c * (z + zeeman[i, 2]))
        if onsite.shape[0] > 0:
            p, q, r = onsite_field(i, a, b, c, onsite)
            total -= 0.5 * (a * p + b * q + c * r)
    return total


def energy(lattice: SpinLattice, spins: np.ndarray) -> float:
    """Return the energy of the supercell in meV for spins (N, 3).

    The isotropic part of the on-site tensors is omitted if the couplings are otherwise isotropic.
    """
    found = _energy(spins, *tables(lattice))
    if not lattice.anisotropic:
        found -= float(np.trace(lattice.onsite, axis1=1, axis2=2).sum()) / 3
    return float(found)
