"""Layers: structures with vacuum along the third lattice vector, which is perpendicular to them."""

from __future__ import annotations

import numpy as np
from ase import Atoms

HEIGHT = 5.0
"""Height to which the stress of a layer refers, Å, whatever its vacuum: 0.1 GPa are then 0.05 N/m."""


def area(atoms: Atoms) -> float:
    """Return the area of a layer per atom, Å²."""
    return float(np.linalg.norm(np.cross(atoms.cell.array[0], atoms.cell.array[1]))) / len(atoms)


def heights(atoms: Atoms) -> np.ndarray:
    """Return the (n,) distances of the atoms from the lowest one along the normal, with the largest gap outside the layer, Å."""
    scaled = atoms.get_scaled_positions()[:, 2] % 1.0
    order = np.sort(scaled)
    gaps = np.diff(np.concatenate([order, order[:1] + 1.0]))
    start = order[(int(np.argmax(gaps)) + 1) % len(order)]
    spacing = abs(np.linalg.det(atoms.cell.array)) / np.linalg.norm(np.cross(atoms.cell.array[0], atoms.cell.array[1]))
    # An atom at the start may lie below it by rounding.
    return np.asarray(((scaled - start + 1e-9) % 1.0 - 1e-9) * spacing)


def thickness(atoms: Atoms) -> float:
    """Return the largest distance of two atoms of a layer along its normal, Å."""
    return float(np.ptp(heights(atoms)))
