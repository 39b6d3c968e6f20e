"""The last step of every operator on molecules: rigid molecules that are too close are moved apart."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from nucleate.crystals.images import lattice_translations
from nucleate.generate.evolution.molecular.bodies import Bodies, Contents, atoms_of
from nucleate.generate.lattices import compact
from nucleate.generate.tries import NotPlaced

STEPS = 30
"""Largest number of steps."""
GROWTH = 1.005
"""Factor of the lengths of the cell in each step, at fixed shapes of the molecules; the volume grows by 56 % at most."""
TARGET = 1.05
"""Distance that a step aims at, relative to the limit."""
TURN = 0.3
"""Largest rotation of a molecule in a step, radians."""
FLAT = 1.0
"""Smallest volume of a cell for each atom, Å³."""


def finished_molecules(contents: Contents, bodies: Bodies, volume: float | None = None) -> Atoms:
    """Return the child of an operator: molecules in the order of their kinds, in a compact cell, without close contacts.

    Molecules that are too close are moved and rotated apart as rigid bodies, while the cell grows; operations of a space group that the
    child has remain.

    Args:
        contents: molecules of the search.
        bodies: molecules of the child, in any order and in any cell.
        volume: volume to which the child is scaled before, with rigid molecules, Å³; None for that of `bodies`.

    Raises:
        NotPlaced: the child has other molecules than the search, its cell is flat, or molecules remain too close.
    """
    if not np.array_equal(np.bincount(bodies.kinds, minlength=len(contents.counts)), contents.counts):
        raise NotPlaced("the child does not have the molecules of the search")
    own = abs(float(np.linalg.det(bodies.cell)))
    n_atoms = sum(len(shape) for shape in bodies.shapes)
    if not np.isfinite(bodies.cell).all() or not np.isfinite(bodies.centres).all() or own < FLAT * n_atoms:
        raise NotPlaced("the cell of the child is flat")
    order = np.argsort(bodies.kinds, kind="stable")
    factor = 1.0 if volume is None else (volume / own) ** (1 / 3)
    try:
        centres, cell = compact(bodies.centres[order], bodies.cell * factor)
    except RuntimeError:  # the reduction of very skewed cells may not converge
        raise NotPlaced("the cell of the child is flat") from None
    child = Bodies(centres, tuple(bodies.shapes[k] for k in order), bodies.kinds[order], cell)
    for _ in range(STEPS):
        moved = pushed(contents, child)
        if moved is None:
            return atoms_of(contents, child)
        child = moved._replace(cell=moved.cell * GROWTH)
    raise NotPlaced("the molecules of the child could not be moved apart")


def pushed(contents: Contents, bodies: Bodies) -> Bodies | None:
    """Return molecules after one step that moves overlapping ones apart; None if there are none.

    Each molecule is translated by the mean of half the overlaps of its atoms, and rotated by what they do about its centroid.
    """
    count = len(bodies.kinds)
    pushes, torques, arms = np.zeros((count, 3)), np.zeros((count, 3)), np.zeros(count)
    clashes = np.zeros(count)
    first, second, vectors = _near(contents, bodies)
    for one in range(len(contents.counts)):
        for other in range(len(contents.counts)):
            mine = np.flatnonzero((bodies.kinds[first] == one) & (bodies.kinds[second] == other))
            if not len(mine):
                continue
            i, j = first[mine], second[mine]
            here, there = np.stack([bodies.shapes[k] for k in i]), np.stack([bodies.shapes[k] for k in j])
            apart = here[:, :, None] - there[:, None] - vectors[mine, None, None]
            lengths = np.sqrt(np.einsum("pabx,pabx->pab", apart, apart))
            limits = contents.limits[one][other]
            p, a, b = np.nonzero(lengths < limits)
            if not len(p):
                continue
            overlap = TARGET * limits[a, b] - lengths[p, a, b]
            step = (0.5 * overlap / np.maximum(lengths[p, a, b], 1e-3))[:, None] * apart[p, a, b]
            for body, arm, push in ((i[p], here[p, a], step), (j[p], there[p, b], -step)):
                np.add.at(pushes, body, push)
                np.add.at(torques, body, np.cross(arm, push))
                np.add.at(arms, body, (arm**2).sum(axis=1))
                np.add.at(clashes, body, 1.0)
    if not clashes.any():
        return None
    turns = torques / np.maximum(arms, 0.1)[:, None]
    turns *= np.minimum(1.0, TURN / np.maximum(np.linalg.norm(turns, axis=1), 1e-12))[:, None]
    rotations = Rotation.from_rotvec(turns).as_matrix()
    shapes = tuple(shape @ rotation.T for shape, rotation in zip(bodies.shapes, rotations, strict=True))
    moves = pushes / np.maximum(clashes, 1.0)[:, None]
    return bodies._replace(centres=bodies.centres + moves @ np.linalg.inv(bodies.cell), shapes=shapes)


def _near(contents: Contents, bodies: Bodies) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of molecules and images that may be too close: two (P,) arrays of molecules and (P, 3) vectors between them, Å."""
    reach = np.array([np.linalg.norm(shape, axis=1).max() for shape in bodies.shapes])
    largest = np.array([[float(limits.max()) for limits in row] for row in contents.limits])[np.ix_(bodies.kinds, bodies.kinds)]
    cutoff = largest + reach[:, None] + reach
    shifts = lattice_translations(bodies.cell, float(cutoff.max())) @ bodies.cell
    i, j = np.triu_indices(len(bodies.kinds))
    difference = bodies.centres[j] - bodies.centres[i]
    vectors = ((difference - np.round(difference)) @ bodies.cell)[:, None] + shifts
    lengths = np.linalg.norm(vectors, axis=2)
    pair, image = np.nonzero((lengths < cutoff[i, j][:, None]) & ((i != j)[:, None] | (lengths > 1e-6)))
    return i[pair], j[pair], vectors[pair, image]
