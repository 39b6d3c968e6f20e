"""Rotation of parts of a molecule about its single bonds."""

from __future__ import annotations

import numpy as np
from ase.data import covalent_radii

from nucleate.crystals.point_groups import turned
from nucleate.molecules.molecule import BOND, Molecule, connected

SINGLE = {(6, 6): 1.42, (6, 7): 1.40, (6, 8): 1.32, (6, 16): 1.70, (7, 7): 1.36, (7, 8): 1.32, (8, 8): 1.35, (14, 14): 2.2, (16, 16): 1.95}
"""Shortest single bond of pairs of elements, Å; bonds that are shorter do not rotate, such as those of amides and rings."""
TRIES = 20
"""Number of random conformers tried until no atoms are too close."""


def rotatable_bonds(molecule: Molecule) -> list[tuple[int, int, np.ndarray]]:
    """Return single bonds outside rings between atoms with other neighbours, with the atoms on the side of the second atom."""
    degree = np.bincount(molecule.bonds.ravel(), minlength=len(molecule))
    result = []
    for k, (i, j) in enumerate(molecule.bonds):
        if degree[i] < 2 or degree[j] < 2:
            continue
        low, high = sorted((int(molecule.numbers[i]), int(molecule.numbers[j])))
        if np.linalg.norm(molecule.positions[i] - molecule.positions[j]) < SINGLE.get((low, high), 0.0):
            continue
        parts = connected(len(molecule), np.delete(molecule.bonds, k, axis=0))
        if len(parts) == 2:
            side = parts[0] if j in parts[0] else parts[1]
            result.append((int(i), int(j), side))
    return result


def turn_about(positions: np.ndarray, bond: tuple[int, int, np.ndarray], angle: float) -> np.ndarray:
    """Return (n, 3) positions after the rotation of one side of a bond by an angle in radians.

    Args:
        positions: (n, 3) positions, Å.
        bond: one of `rotatable_bonds`; the atoms on the side of its second atom move.
        angle: angle of the right-handed rotation about the direction from the first to the second atom.
    """
    i, j, side = bond
    axis = positions[j] - positions[i]
    rotation = turned(axis / np.linalg.norm(axis), angle)
    result = positions.copy()
    result[side] = (positions[side] - positions[j]) @ rotation.T + positions[j]
    return result


def closest_allowed(molecule: Molecule) -> np.ndarray:
    """Return the (n, n) smallest distances in conformers, Å: below them atoms would be bonded; zero for those that are."""
    radii = covalent_radii[molecule.numbers]
    limits = BOND * (radii[:, None] + radii[None])
    np.fill_diagonal(limits, 0.0)
    limits[molecule.bonds[:, 0], molecule.bonds[:, 1]] = limits[molecule.bonds[:, 1], molecule.bonds[:, 0]] = 0.0
    return np.asarray(limits)


def turn_bonds(molecule: Molecule, rng: np.random.Generator) -> np.ndarray:
    """Return the (n, 3) positions of a random conformer around the origin; those of the molecule if its parts are always too close."""
    bonds, limits = rotatable_bonds(molecule), closest_allowed(molecule)
    for _ in range(TRIES if bonds else 0):
        positions = molecule.positions
        for bond in bonds:
            positions = turn_about(positions, bond, rng.uniform(0, 2 * np.pi))
        if (np.linalg.norm(positions[:, None] - positions[None], axis=2) >= limits).all():
            return np.asarray(positions - positions.mean(0))
    return molecule.positions
