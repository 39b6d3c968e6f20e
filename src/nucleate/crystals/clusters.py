"""Clusters: isolated sets of atoms in a box with vacuum in all directions."""

from __future__ import annotations

import numpy as np
from ase import Atoms

MARGIN = 5.0
"""Vacuum on each side of clusters that are read from a file without a cell, Å."""


def extent(positions: np.ndarray) -> float:
    """Return the largest distance of two of (n, 3) positions, Å; zero for one."""
    # Every process would wait for this module.
    from scipy.spatial.distance import pdist

    return float(pdist(positions).max()) if len(positions) > 1 else 0.0


def image_distance(positions: np.ndarray, cell: np.ndarray) -> float:
    """Return the smallest distance of (n, 3) positions from their periodic images, Å."""
    shifts = np.array([shift for shift in np.ndindex(3, 3, 3) if shift != (1, 1, 1)]) - 1
    differences = (positions[:, None] - positions[None])[:, :, None] + shifts @ cell
    return float(np.linalg.norm(differences, axis=-1).min())


def centre_in_box(atoms: Atoms) -> None:
    """Move a cluster into the middle of its cell; without one it gets a box with `MARGIN` on all sides."""
    if not len(atoms):
        return
    atoms.positions = gathered(atoms)
    if atoms.cell.rank < 3:
        size = float(np.linalg.norm(np.ptp(atoms.positions, axis=0)))
        atoms.set_cell(np.eye(3) * ((size if np.isfinite(size) else 0.0) + 2 * MARGIN))
    middle = 0.5 * (atoms.positions.max(0) + atoms.positions.min(0))
    atoms.positions += 0.5 * atoms.cell.array.sum(0) - middle


def in_cube(atoms: Atoms, edge: float) -> Atoms:
    """Return a cluster in the middle of a cubic box of an edge in Å."""
    middle = 0.5 * (atoms.positions.max(0) + atoms.positions.min(0))
    return Atoms(atoms.numbers, atoms.positions - middle + 0.5 * edge, cell=edge * np.eye(3), pbc=False)


def gathered(atoms: Atoms) -> np.ndarray:
    """Return the (n, 3) positions of a cluster, Å, with those atoms at their nearest images that the cell cuts off.

    The atoms are placed one after another, each at its image nearest to the atoms placed before.
    """
    if atoms.cell.rank < 3:
        return np.array(atoms.positions)
    cell = atoms.cell.array
    scaled = atoms.get_scaled_positions(wrap=False)
    difference = scaled[:, None] - scaled[None]
    distances = np.linalg.norm((difference - np.round(difference)) @ cell, axis=2)
    near = np.zeros(len(atoms), dtype=int)
    left = set(range(1, len(atoms)))
    closest = distances[0].copy()
    while left:
        following = min(left, key=lambda k: closest[k])
        base = near[following]
        scaled[following] -= np.round(scaled[following] - scaled[base])
        left.remove(following)
        nearer = distances[following] < closest
        near[nearer], closest[nearer] = following, distances[following][nearer]
    return np.asarray(scaled @ cell)
