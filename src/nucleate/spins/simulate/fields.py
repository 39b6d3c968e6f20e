"""Energies and effective fields of spins on a lattice.

The effective field of a spin is -dE/de in meV: sum_j J_ij e_j + 2 K e_i + mu_B m B.
"""

from __future__ import annotations

import numpy as np

from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.stencil import all_fields, repeat_all


def linear_fields(lattice: SpinLattice, spins: np.ndarray) -> np.ndarray:
    """Return the fields (N, 3) in meV of neighbours and external field, without on-site terms, for spins (N, 3)."""
    packed = lattice.empty()
    lattice.pack(spins, packed)
    repeat_all(packed, lattice.stencil)
    found = np.empty((*packed.shape[:2], *(lattice.size[axis] for axis in lattice.axes)))
    all_fields(found.reshape(*packed.shape[:2], -1, found.shape[-1]), packed, lattice.stencil)
    # From sites, components and permuted axes to cells, sites and components.
    return found.transpose(*(2 + lattice.axes.index(axis) for axis in range(3)), 0, 1).reshape(-1, 3)


def fields(lattice: SpinLattice, spins: np.ndarray) -> np.ndarray:
    """Return the effective fields (N, 3) in meV for spins (N, 3)."""
    by_site = spins.reshape(-1, len(lattice.onsite), 3)
    return linear_fields(lattice, spins) + 2 * np.einsum("sxy,csy->csx", lattice.onsite, by_site).reshape(-1, 3)


def energy(lattice: SpinLattice, spins: np.ndarray) -> float:
    """Return the energy of the supercell in meV for spins (N, 3)."""
    by_site = spins.reshape(-1, len(lattice.onsite), 3)
    # Every pair contributes to the fields of both spins, so neighbours count half.
    pairs = 0.5 * (np.vdot(spins, linear_fields(lattice, spins)) + np.einsum("csx,sx->", by_site, lattice.stencil.zeeman))
    return -float(pairs + np.einsum("csx,sxy,csy->", by_site, lattice.onsite, by_site, optimize=True))
