"""Random lattices of a given volume for each crystal system, and their reduction to compact cells."""

from __future__ import annotations

import numpy as np
from ase.geometry import minkowski_reduce

PRIMITIVE: dict[str, np.ndarray] = {
    "P": np.eye(3),
    "A": np.array([[1.0, 0.0, 0.0], [0.0, 0.5, -0.5], [0.0, 0.5, 0.5]]),
    "C": np.array([[0.5, 0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
    "R": np.array([[2.0, 1.0, 1.0], [-1.0, 1.0, 1.0], [-1.0, -2.0, 1.0]]) / 3.0,
}
"""Primitive vectors as rows, in units of the conventional vectors, for each centring (R: obverse setting on hexagonal axes)."""
ANGLES = (60.0, 120.0)
"""Range of the angles of a random cell before reduction, degrees."""


def crystal_system(number: int) -> str:
    """Return the crystal system of a space-group number; trigonal groups are hexagonal, since they use the same axes."""
    for last, name in (
        (2, "triclinic"),
        (15, "monoclinic"),
        (74, "orthorhombic"),
        (142, "tetragonal"),
        (194, "hexagonal"),
    ):
        if number <= last:
            return name
    return "cubic"


def cell_from_parameters(lengths: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return (3, 3) lattice vectors as rows (Å) from three lengths (Å) and three angles (degrees)."""
    ca, cb, cg = np.cos(np.radians(angles))
    sg = np.sqrt(1.0 - cg * cg)
    cy = (ca - cb * cg) / sg
    cz = np.sqrt(max(1.0 - cb * cb - cy * cy, 0.0))
    return np.array([[1.0, 0.0, 0.0], [cg, sg, 0.0], [cb, cy, cz]]) * np.asarray(lengths)[:, None]


def random_conventional(system: str, centring: str, volume: float, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return a random conventional cell.

    Args:
        system: crystal system.
        centring: centring letter; the random shapes of R lattices are centred on the one whose primitive cell is a cube.
        volume: volume of the conventional cell, Å³.
        ratio: largest ratio of the free lengths.
        rng: random number generator.

    Returns:
        (3, 3) lattice vectors as rows, Å.
    """
    spread = np.log(ratio)
    lengths, angles = np.ones(3), np.full(3, 90.0)
    if system in ("tetragonal", "hexagonal"):
        # The logarithm of c/a is symmetric about the isotropic shape, so that both layered and columnar cells occur.
        lengths[2] = np.exp(rng.uniform(-spread, spread)) * (np.sqrt(6.0) if centring == "R" else 1.0)
    elif system != "cubic":
        lengths = np.exp(rng.uniform(0.0, spread, 3))
    if system == "hexagonal":
        angles[2] = 120.0
    elif system == "monoclinic":
        angles[1] = rng.uniform(*ANGLES)
    elif system == "triclinic":
        angles = random_angles(rng)
    cell = cell_from_parameters(lengths, angles)
    return cell * (volume / abs(np.linalg.det(cell))) ** (1.0 / 3.0)


def random_angles(rng: np.random.Generator) -> np.ndarray:
    """Return three random angles (degrees) of a cell that is not flat."""
    while True:
        angles = rng.uniform(*ANGLES, size=3)
        cosines = np.cos(np.radians(angles))
        if 1.0 - np.sum(cosines**2) + 2.0 * np.prod(cosines) > 0.15:
            return angles


def compact(scaled: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the same crystal with the shortest lattice vectors, right-handed.

    Args:
        scaled: (N, 3) fractional positions.
        cell: (3, 3) lattice vectors as rows, Å.

    Returns:
        Fractional positions wrapped into [0, 1) and the reduced cell.
    """
    reduced, _ = minkowski_reduce(cell)
    if np.linalg.det(reduced) < 0:
        reduced = -reduced
    wrapped = (scaled @ cell @ np.linalg.inv(reduced)) % 1.0
    return wrapped % 1.0, reduced  # the second modulo is needed because -1e-17 % 1 is 1


def hermite_forms(copies: int) -> list[np.ndarray]:
    """Return the Hermite normal forms of this determinant; only the diagonal ones beyond 16 copies, where there are thousands."""
    matrices = []
    for a in (d for d in range(1, copies + 1) if copies % d == 0):
        for b in (d for d in range(1, copies // a + 1) if (copies // a) % d == 0):
            c = copies // a // b
            offsets = [(x, y, z) for x in range(b) for y in range(c) for z in range(c)] if copies <= 16 else [(0, 0, 0)]
            matrices += [np.array([[a, x, y], [0, b, z], [0, 0, c]]) for x, y, z in offsets]
    return matrices
