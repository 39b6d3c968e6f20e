"""Lattice vectors and origins in which two crystals have a symmetry operation in common."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucleate.generate.evolution.lattice_choices import dissimilarity, lattice_choices, metrics, with_vectors
from nucleate.generate.evolution.sites import Sites
from nucleate.generate.evolution.symmetry import Operations, made_exact, operations, orbits_of
from nucleate.generate.tries import NotPlaced

CHOICES = 200
"""Largest number of choices of the lattice vectors that are compared for each parent."""
SIMILAR = 5
"""Number of the most similar cells of the second parent of which one is drawn."""
PAIRS = 12
"""Largest number of pairs of operations with the same matrix that are tried."""


class Aligned(NamedTuple):
    """A parent in lattice vectors in which it has the common operation x -> W x + w exactly.

    Attributes:
        sites: atoms.
        rotation: (3, 3) matrix W, whose first row is (1, 0, 0) or (-1, 0, 0).
        translation: (3,) translation w.
        orbits: (N,) label of the orbit of each atom under this operation.
    """

    sites: Sites
    rotation: np.ndarray
    translation: np.ndarray
    orbits: np.ndarray


def aligned(first: Sites, second: Sites, rng: np.random.Generator) -> tuple[Aligned, Aligned]:
    """Return two parents in lattice vectors in which both have the same symmetry operation.

    The matrix of the operation maps the planes across the first lattice vector onto themselves or invert their order, and the screw or
    glide component is the same in both parents. The kind of the operation, such as inversion or twofold rotation, is drawn first.

    Raises:
        NotPlaced: the parents have no such operation in common.
    """
    found = operations(first), operations(second)
    if not (len(found[0]) and len(found[1])):
        raise NotPlaced("a parent has no symmetry")
    choices = [_some(lattice_choices(sites.cell), rng) for sites in (first, second)]
    tables = [_matrices(choice, ops.rotations) for choice, ops in zip(choices, found, strict=True)]
    common = np.intersect1d(tables[0].keys, tables[1].keys)
    if not len(common):
        raise NotPlaced("the parents have no symmetry operation in common")
    for _ in range(PAIRS):
        key = _drawn(common, tables[0], rng)
        own = rng.choice(np.flatnonzero(tables[0].keys == key))
        metric = metrics(first.cell, choices[0][tables[0].choice[own]][None])[0]
        others = np.flatnonzero(tables[1].keys == key)
        distance = dissimilarity(metric, metrics(second.cell, choices[1][tables[1].choice[others]]))
        other = rng.choice(others[np.argsort(distance, kind="stable")[:SIMILAR]])
        pair = (
            _exact(first, found[0], choices[0][tables[0].choice[own]], int(tables[0].operation[own])),
            _exact(second, found[1], choices[1][tables[1].choice[other]], int(tables[1].operation[other])),
        )
        if _compatible(pair, rng):
            return pair
    raise NotPlaced("the parents have no symmetry operation in common")


def with_origins(pair: tuple[Aligned, Aligned], thickness: float, rng: np.random.Generator) -> tuple[Sites, Sites]:
    """Return both parents shifted so that the common operation is the same and maps a slab onto itself.

    Args:
        pair: parents with a common operation.
        thickness: thickness of the slab from 0 along the first lattice vector, in units of that vector.
        rng: random number generator; it chooses between symmetry elements and moves along them.

    Raises:
        NotPlaced: the symmetry elements cannot be superposed.
    """
    first, second = pair
    here = rng.random(3)
    if first.rotation[0, 0] > 0:
        there = _second_origin(pair, here, None, rng)
    else:
        # The operation maps 0 onto the thickness: each parent has two kinds of elements with this, half a lattice vector apart.
        there = None
        for k in rng.permutation(4):
            here[0] = 0.5 * (thickness - first.translation[0]) + 0.5 * (k // 2)
            there = _second_origin(pair, here, 0.5 * (thickness - second.translation[0]) + 0.5 * (k % 2), rng)
            if there is not None:
                break
    if there is None:
        raise NotPlaced("the symmetry elements of the parents cannot be superposed")
    return first.sites._replace(scaled=first.sites.scaled + here), second.sites._replace(scaled=second.sites.scaled + there)


def _second_origin(pair: tuple[Aligned, Aligned], here: np.ndarray, along: float | None, rng: np.random.Generator) -> np.ndarray | None:
    """Return the shift of the second parent that makes the operations the same; None if there is none.

    Args:
        pair: parents with a common operation.
        here: (3,) shift of the first parent.
        along: first component of the shift; None if it is free.
        rng: random number generator.
    """
    first, second = pair
    difference = np.eye(3) - first.rotation  # an origin shift s adds difference @ s to the translation of the operation
    left = (first.translation + difference @ here - second.translation)[1:]
    if along is None:
        return _solved(difference[1:], left, rng)
    rest = _solved(difference[1:, 1:], left - difference[1:, 0] * along, rng)
    return None if rest is None else np.array([along, *rest])


class _Matrices(NamedTuple):
    """Operations that keep the planes across the first lattice vector: a number for each matrix, and where it is from."""

    keys: np.ndarray
    choice: np.ndarray
    operation: np.ndarray
    kind: np.ndarray


def _some(choices: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a random selection of choices, in random order."""
    return choices[rng.permutation(len(choices))[:CHOICES]]


def _matrices(choices: np.ndarray, rotations: np.ndarray) -> _Matrices:
    """Return the matrices of all rotations in all choices of lattice vectors."""
    transposed = choices.transpose(0, 2, 1)
    inverse = np.round(np.linalg.inv(transposed)).astype(int)
    moved = inverse[:, None] @ rotations @ transposed[:, None]
    keeps = (np.abs(moved[..., 0, 0]) == 1) & (moved[..., 0, 1:] == 0).all(axis=-1) & (np.abs(moved) <= 3).all(axis=(-2, -1))
    # A translation alone maps every crystal onto itself; it would say nothing about the symmetry of the child.
    keeps &= (rotations != np.eye(3, dtype=int)).any(axis=(1, 2))
    choice, operation = np.nonzero(keeps)
    kept = moved[choice, operation].reshape(-1, 9)
    kind = 10 * np.trace(rotations, axis1=1, axis2=2) + np.round(np.linalg.det(rotations)).astype(int)
    return _Matrices((kept + 3) @ 7 ** np.arange(9), choice, operation, kind[operation])


def _drawn(common: np.ndarray, table: _Matrices, rng: np.random.Generator) -> int:
    """Return one of the common matrices, after its kind; otherwise the rarest kind, the inversion, would be drawn least."""
    keys, rows = np.unique(table.keys, return_index=True)
    kinds = table.kind[rows][np.searchsorted(keys, common)]
    return int(rng.choice(common[kinds == rng.choice(np.unique(kinds))]))


def _exact(sites: Sites, ops: Operations, choice: np.ndarray, operation: int) -> Aligned:
    """Return a parent in chosen lattice vectors with one of its operations made exact."""
    inverse = np.round(np.linalg.inv(choice)).astype(int)
    rotation = inverse.T @ ops.rotations[operation] @ choice.T
    moved = with_vectors(sites, choice)
    scaled, translation = made_exact(moved, rotation, inverse.T @ ops.translations[operation], ops.images[operation])
    return Aligned(moved._replace(scaled=scaled), rotation, translation, orbits_of(ops.images[operation][None]))


def _compatible(pair: tuple[Aligned, Aligned], rng: np.random.Generator) -> bool:
    """Return whether slabs can be mapped onto themselves and origins exist for which the two operations are the same."""
    along = [parent.translation[0] for parent in pair]
    if pair[0].rotation[0, 0] > 0 and any(abs(w - round(w)) > 1e-6 for w in along):
        return False
    try:
        with_origins(pair, 0.5, rng)
    except NotPlaced:
        return False
    return True


def _solved(matrix: np.ndarray, left: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return a random solution t of matrix @ t = left up to a lattice vector; None if there is none."""
    steps = np.stack(np.meshgrid(np.arange(-2, 3), np.arange(-2, 3), indexing="ij"), axis=-1).reshape(-1, 2)
    wanted = left - np.round(left) + steps
    inverse = np.linalg.pinv(matrix)
    residual = wanted - wanted @ (matrix @ inverse).T
    wanted = wanted[(np.abs(residual) < 1e-6).all(axis=1)]
    if not len(wanted):
        return None
    free = np.eye(matrix.shape[1]) - inverse @ matrix
    return inverse @ wanted[rng.integers(len(wanted))] + free @ rng.random(matrix.shape[1])
