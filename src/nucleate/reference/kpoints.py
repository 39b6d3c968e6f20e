"""k-point grids from a spacing, the same for every engine.

A shifted (Monkhorst-Pack) grid with an even number of points along an axis avoids the points that time reversal maps
on themselves: a cell without symmetry costs 4 k-points in place of 8 on 2x2x2, and is better converged. But shifting
breaks the symmetry of some lattices (hexagonal, face-centred), where the grid has to hold the gamma point.

H. J. Monkhorst and J. D. Pack, Phys. Rev. B 13, 5188 (1976), doi 10.1103/PhysRevB.13.5188.
"""

from __future__ import annotations

import numpy as np
import spglib
from ase import Atoms

SYMMETRY_PRECISION = 1e-4
"""Å; how closely atoms must coincide for an operation to count as a symmetry."""


def k_grid(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    """Divisions n_i = max(1, ceil(|b_i| / spacing)), with |b_i| including 2 pi, 1/Å."""
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    first, second, third = (max(1, int(np.ceil(length / spacing - 1e-6))) for length in lengths)
    return first, second, third


def may_shift(atoms: Atoms, size: tuple[int, int, int]) -> bool:
    """Whether the even axes of a grid may be shifted by half a step.

    True if some axis is even and every rotation of the crystal maps the shifted grid on itself.

    Args:
        atoms: the structure.
        size: divisions along the three reciprocal vectors.
    """
    n = np.array(size)
    even = n % 2 == 0
    if not even.any():
        return False
    spins = atoms.get_initial_magnetic_moments()
    cell = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers * 1000 + np.round(spins * 10).astype(int))
    found = spglib.get_symmetry(cell, symprec=SYMMETRY_PRECISION)
    if found is None:
        return False
    shift = np.where(even, 0.5, 0.0)
    for rotation in np.unique(found["rotations"], axis=0):
        # Grid points are k = (m + shift) / n, m integer; a rotation W of the crystal takes k to W^-T k.
        turned = np.diag(n) @ np.linalg.inv(rotation).T @ np.diag(1 / n)
        for m in (np.zeros(3), *np.eye(3)):
            landed = turned @ (m + shift) - shift
            if np.abs(landed - np.round(landed)).max() > 1e-6:
                return False
    return True
