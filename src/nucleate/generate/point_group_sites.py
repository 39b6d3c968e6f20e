"""Point groups of clusters, and the sites of atoms in them.

The groups are those with axes of up to eight-fold symmetry (Cn, Cnv, Cnh, S2n, Dn, Dnh, Dnd) and the cubic and icosahedral ones. The sites
of a group are its centre, if it is a point, its axes, its mirror planes and the space between them: the fixed spaces of its operations and
their intersections, one of each set of equivalent ones.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from nucleate.crystals.point_groups import turned
from nucleate.generate.wyckoff import GroupSites, Site

LARGEST_AXIS = 8
"""Largest order of a rotation axis."""
X, Y, Z = np.eye(3)
MIRROR_X, MIRROR_Z, INVERSION = np.diag([-1.0, 1.0, 1.0]), np.diag([1.0, 1.0, -1.0]), -np.eye(3)
GOLDEN = (1.0 + 5.0**0.5) / 2.0


def _generators() -> dict[str, list[np.ndarray]]:
    """Return matrices that generate each group, by Schoenflies symbol; the principal axis is z."""
    three = turned(np.ones(3) / 3.0**0.5, 2 * np.pi / 3)
    two, four, two_x = turned(Z, np.pi), turned(Z, np.pi / 2), turned(X, np.pi)
    five = turned(np.array([0.0, 1.0, GOLDEN]) / (1.0 + GOLDEN**2) ** 0.5, 2 * np.pi / 5)
    groups: dict[str, list[np.ndarray]] = {"C1": [], "Cs": [MIRROR_Z], "Ci": [INVERSION]}
    for n in range(2, LARGEST_AXIS + 1):
        axis = turned(Z, 2 * np.pi / n)
        groups[f"C{n}"] = [axis]
        groups[f"C{n}v"] = [axis, MIRROR_X]
        groups[f"C{n}h"] = [axis, MIRROR_Z]
        groups[f"D{n}"] = [axis, two_x]
        groups[f"D{n}h"] = [axis, two_x, MIRROR_Z]
        half = turned(Z, np.pi / n) @ MIRROR_Z
        groups[f"D{n}d"] = [half, two_x]
        # The rotation-reflection of odd n generates Cni, which Schoenflies calls S2n as well.
        groups[f"S{2 * n}"] = [half]
    groups |= {
        "T": [three, two],
        "Td": [three, four @ INVERSION],
        "Th": [three, two, INVERSION],
        "O": [three, four],
        "Oh": [three, four, INVERSION],
        "I": [three, two, five],
        "Ih": [three, two, five, INVERSION],
    }
    return groups


def closure(generators: list[np.ndarray]) -> np.ndarray:
    """Return the (g, 3, 3) matrices of the group that some orthogonal matrices generate, the identity first."""
    operations = np.eye(3)[None]
    while True:
        products = np.concatenate([operations, *(operations @ matrix for matrix in generators)])
        _, first = np.unique(np.round(products.reshape(-1, 9) * 1e5).astype(int), axis=0, return_index=True)
        if len(first) == len(operations):
            return operations
        operations = products[np.sort(first)]


def _projector(space: np.ndarray) -> np.ndarray:
    """Return the projector onto the vectors that a projector-like symmetric matrix keeps."""
    values, vectors = np.linalg.eigh(space)
    kept = vectors[:, values > 1.0 - 1e-6]
    return np.asarray(kept @ kept.T)


def _fixed_spaces(operations: np.ndarray) -> list[np.ndarray]:
    """Return the projectors onto the fixed spaces of the operations and their intersections, one of each set of equivalent ones."""
    spaces = [_projector(0.5 * (op + op.T)) for op in operations]
    spaces = _unlike(spaces)
    while True:
        crossed = _unlike([*spaces, *(_projector(0.5 * (a + b)) for k, a in enumerate(spaces) for b in spaces[:k])])
        if len(crossed) == len(spaces):
            break
        spaces = crossed
    distinct: list[np.ndarray] = []
    for space in spaces:
        images = operations @ space @ operations.transpose(0, 2, 1)
        if not any(np.abs(images - known).max(axis=(1, 2)).min() < 1e-5 for known in distinct):
            distinct.append(space)
    return distinct


def _unlike(matrices: list[np.ndarray]) -> list[np.ndarray]:
    stacked = np.array(matrices)
    _, first = np.unique(np.round(stacked.reshape(-1, 9) * 1e5).astype(int), axis=0, return_index=True)
    return [matrices[k] for k in np.sort(first)]


@lru_cache(maxsize=1)
def _all_groups() -> tuple[GroupSites, ...]:
    groups = []
    for number, (symbol, generators) in enumerate(_generators().items(), 1):
        operations = closure(generators)
        sites = []
        for k, space in enumerate(sorted(_fixed_spaces(operations), key=lambda space: round(float(np.trace(space))))):
            # Operations with the same effect on the space give the same atom.
            images = operations @ space
            kept = np.array(_unlike(list(images)))
            freedom = round(float(np.trace(space)))
            letter = ("centre", "axis", "plane", "general")[freedom]
            sites.append(Site(f" {letter} {k}", len(kept), "", freedom, kept, np.zeros((len(kept), 3))))
        groups.append(GroupSites(number, symbol, tuple(sites), operations, np.zeros((len(operations), 3))))
    return tuple(groups)


def point_group_sites(largest: int) -> tuple[GroupSites, ...]:
    """Return the point groups of clusters with their sites of at most `largest` atoms; the matrices are Cartesian."""
    return tuple(
        GroupSites(g.number, g.symbol, tuple(s for s in g.sites if s.size <= largest), g.rotations, g.translations) for g in _all_groups()
    )
