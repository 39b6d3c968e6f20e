"""Point groups of finite sets of atoms: molecules and clusters."""

from __future__ import annotations

import numpy as np

MOST_FRAMES = 20_000
"""Largest number of operations that are compared with the atoms."""
LONG = 0.5
"""Smallest distance of the two atoms from the centroid and of the second from the axis of the first, relative to the largest possible."""
LEVER = 3.0
"""Largest displacement by an operation that two atoms determine, relative to the tolerance of the best operation with the same images."""
STRAIGHT = 0.05
"""Largest distance of an atom of a linear molecule from its line, Å."""


def mapping(numbers: np.ndarray, positions: np.ndarray, image: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Return for each atom of `image` the atom of a set at its place; None if there is none within the tolerance.

    Args:
        numbers: (n,) atomic numbers of both sets.
        positions, image: (n, 3) positions, Å.
        tolerance: largest distance of two atoms at the same place, Å.
    """
    distances = np.linalg.norm(image[:, None] - positions[None], axis=2)
    distances = np.where(numbers[:, None] == numbers[None], distances, 1e3)
    # Every process would wait for this module, and few have clusters.
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(distances**2)
    if distances[rows, columns].max() > tolerance:
        return None
    return np.asarray(columns)


def off_line(positions: np.ndarray) -> float:
    """Return the largest distance of an atom from the line that fits (n, 3) positions with their centroid at the origin best, Å."""
    if len(positions) < 3:
        return 0.0
    line = np.linalg.svd(positions)[2][0]
    return float(np.linalg.norm(positions - np.outer(positions @ line, line), axis=1).max())


def linear(positions: np.ndarray, tolerance: float = STRAIGHT) -> bool:
    """Return whether two or more atoms, with their centroid at the origin, lie on one line within a tolerance in Å."""
    return len(positions) > 1 and off_line(positions) <= tolerance


def superpositions(
    numbers: np.ndarray,
    positions: np.ndarray,
    others: np.ndarray,
    tolerance: float,
    enough: int | None = None,
    straight: float | None = None,
) -> list[np.ndarray]:
    """Return the orthogonal matrices that map a set of atoms onto another one with the same atomic numbers.

    The images of two atoms, chosen so that few others are equivalent, determine a proper operation and one times a reflection. Those of a
    linear set are not complete: at most two that differ by the inversion are returned.

    Args:
        numbers: (n,) atomic numbers of both sets.
        positions, others: (n, 3) positions, Å, with the centroids at the origin.
        tolerance: largest distance of two atoms at the same place, Å.
        enough: number of matrices after which the others are not searched for; None: all.
        straight: largest distance of the atoms of a linear set from their line, Å; None: `tolerance`.

    Returns:
        (3, 3) matrices R with `positions @ R.T` near `others`.
    """
    if len(positions) == 1:
        return [np.eye(3)]
    bent = off_line(positions), off_line(others)
    if max(bent) <= (tolerance if straight is None else straight):
        return _along_a_line(numbers, positions, others, tolerance)
    if min(bent) < EXACT:
        return []
    radii, other_radii = np.linalg.norm(positions, axis=1), np.linalg.norm(others, axis=1)
    alike = (numbers[:, None] == numbers[None]) & (abs(radii[:, None] - other_radii[None]) < tolerance)
    # Two atoms that span a plane with the centroid, with long arms and the fewest candidates for their images.
    count = alike.sum(axis=1)
    areas = np.linalg.norm(np.cross(positions[:, None], positions[None]), axis=2)
    arms = np.minimum(radii[:, None], areas / np.maximum(radii[:, None], 1e-9))
    cost = np.where(arms > LONG * arms.max(), count[:, None] * count[None] - 1e-3 * arms, np.inf)
    i, j = np.unravel_index(int(np.argmin(cost)), cost.shape)
    frame = _frame(positions[i], positions[j])
    separation = np.linalg.norm(positions[i] - positions[j])
    found: list[np.ndarray] = []
    tried = 0
    for a in np.nonzero(alike[i])[0]:
        for b in np.nonzero(alike[j])[0]:
            if a == b or abs(np.linalg.norm(others[a] - others[b]) - separation) > 2 * tolerance:
                continue
            if np.linalg.norm(np.cross(others[a], others[b])) < EXACT:
                continue
            tried += 2
            if tried > MOST_FRAMES:
                return found
            for mirror in (1.0, -1.0):
                op = _frame(others[a], others[b]) @ np.diag([1.0, 1.0, mirror]) @ frame.T
                # The displacements of two atoms turn the others further than the best operation does.
                atoms = mapping(numbers, others, positions @ op.T, LEVER * tolerance)
                if atoms is None:
                    continue
                best = _fitted(positions, others[atoms], float(np.linalg.det(op)))
                if mapping(numbers, others, positions @ best.T, tolerance) is not None:
                    if all(np.abs(best - known).max() > 0.1 for known in found):
                        found.append(best)
                    if enough is not None and len(found) >= enough:
                        return found
    return found


def point_group(numbers: np.ndarray, positions: np.ndarray, tolerance: float, straight: float | None = None) -> np.ndarray:
    """Return the (g, 3, 3) orthogonal matrices that map a set of atoms onto itself, the identity included.

    Those of a linear set are the identity and, where it has one, the inversion. Where the operations within the tolerance do not form a
    group, those of a smaller tolerance are returned.

    Args:
        numbers: (n,) atomic numbers.
        positions: (n, 3) positions, Å, with the centroid at the origin.
        tolerance: largest displacement of an atom by an operation, Å.
        straight: largest distance of the atoms of a linear set from their line, Å; None: `tolerance`.
    """
    for _ in range(REDUCTIONS):
        found = superpositions(numbers, positions, positions, tolerance, straight=straight)
        group = _completed(np.array(found), numbers, positions, GRACE * tolerance) if found else None
        exact = None if group is None else exact_group(group)
        if exact is not None:
            return exact
        tolerance *= 0.7
    return np.eye(3)[None]


def _completed(operations: np.ndarray, numbers: np.ndarray, positions: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Return a group that contains operations near a group, with those that were just outside the tolerance; None if there is none."""
    while len(operations) <= LARGEST:
        products = (operations[:, None] @ operations[None]).reshape(-1, 3, 3)
        if len(operations) == 1:
            return operations
        _, distances = _nearest(products, operations)
        if distances.max() < UNLIKE:
            return operations
        missing = products[int(distances.argmax())]
        atoms = mapping(numbers, positions, positions @ missing.T, LEVER * tolerance)
        if atoms is None:
            return None
        best = _fitted(positions, positions[atoms], float(np.linalg.det(missing)))
        if mapping(numbers, positions, positions @ best.T, tolerance) is None:
            return None
        if _nearest(best[None], operations)[1][0] < UNLIKE:
            return None
        operations = np.concatenate([operations, best[None]])
    return None


def _nearest(matrices: np.ndarray, operations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each of (k, 3, 3) orthogonal matrices the nearest operation and the Frobenius norm of their difference."""
    overlaps = matrices.reshape(-1, 9) @ operations.reshape(-1, 9).T
    nearest = overlaps.argmax(axis=1)
    return nearest, np.sqrt(np.maximum(6.0 - 2.0 * overlaps.max(axis=1), 0.0))


def symbol_of(operations: np.ndarray, straight: bool = False) -> str:
    """Return the Schoenflies symbol of a finite point group of (g, 3, 3) orthogonal matrices.

    Args:
        operations: all matrices of the group.
        straight: whether they are those of a linear set of atoms, whose groups are called Cinfv and Dinfh.
    """
    if straight:
        return "Dinfh" if len(operations) > 1 else "Cinfv"
    determinants = np.linalg.det(operations)
    inversion = any(np.allclose(op, -np.eye(3), atol=0.05) for op in operations)
    proper, improper = operations[determinants > 0], operations[determinants < 0]
    turns = [axis for op in proper if (axis := axis_of(op)) is not None]
    mirrors = [axis for op in improper if abs(np.trace(op) - 1.0) < 1e-3 and (axis := axis_of(op)) is not None]
    if not turns:
        return "C1" if not len(improper) else "Ci" if inversion else "Cs"
    # An axis of order n belongs to n - 1 rotations.
    orders = (np.abs(np.array(turns) @ np.array(turns).T) > 1.0 - 1e-4).sum(axis=1) + 1
    highest = int(orders.max())
    axes = [axis for axis, order in zip(turns, orders, strict=True) if order == highest]
    several = any(abs(axes[0] @ axis) < 0.99 for axis in axes[1:])
    if highest > 2 and several:
        if highest == 3:
            return "Th" if inversion else "Td" if len(improper) else "T"
        return {4: "O", 5: "I"}[highest] + ("h" if inversion else "")
    across = any(abs(axis @ mirror) > 0.9999 for axis in axes for mirror in mirrors)
    family = "D" if len(proper) == 2 * highest else "C"
    if not len(improper):
        return f"{family}{highest}"
    if across:
        return f"{family}{highest}h"
    if family == "D":
        return f"D{highest}d"
    return f"C{highest}v" if mirrors else f"S{2 * highest}"


def symmetrised_positions(numbers: np.ndarray, positions: np.ndarray, operations: np.ndarray, tolerance: float) -> np.ndarray | None:
    """Return (n, 3) positions with the symmetry of some operations, which they have within a tolerance, made exact.

    Args:
        numbers: (n,) atomic numbers.
        positions: (n, 3) positions, Å, with the centroid at the origin.
        operations: (g, 3, 3) matrices of a group, known as exactly as the positions are symmetric.
        tolerance: largest displacement of an atom by an operation, Å.

    Returns:
        The positions, or None if the operations do not form a group.
    """
    start = positions
    if linear(positions, tolerance):
        line = np.linalg.svd(positions)[2][0]
        positions = (positions @ line)[:, None] * line
    exact = exact_group(operations)
    if exact is None:
        return None
    total = np.zeros_like(positions)
    for op in exact:
        image = positions @ op.T
        atoms = mapping(numbers, positions, image, 2 * tolerance)
        if atoms is None:
            return None
        # Atom k of the image lies at the place of atom atoms[k].
        total[atoms] += image
    average = total / len(exact)
    if np.linalg.norm(average - start, axis=1).max() > tolerance:
        return None
    if any(mapping(numbers, average, average @ op.T, EXACT) is None for op in exact):
        return None
    return np.asarray(average)


def exact_group(operations: np.ndarray) -> np.ndarray | None:
    """Return the orthogonal matrices of a group near given ones; None if these are not near a group.

    Each matrix is replaced by the mean over the group of h^-1 (h g), which is exact for a group and otherwise reduces the error to its
    square (K. Grove, H. Karcher and E. A. Ruh, Invent. Math. 23, 31 (1974), doi 10.1007/BF01405201).
    """
    count = len(operations)
    nearest, distances = _nearest((operations[:, None] @ operations[None]).reshape(-1, 3, 3), operations)
    table = nearest.reshape(count, count)
    if distances.max() > UNLIKE or any(len(set(row)) < count for row in (*table, *table.T)):
        return None
    for _ in range(AVERAGES):
        mean = np.einsum("hji,hgjk->gik", operations, operations[table]) / count
        u, _, vt = np.linalg.svd(mean)
        operations = u @ vt
    return np.asarray(operations)


AVERAGES = 8
"""Number of averages; the error after k of them is the one before to the power 2^k."""
REDUCTIONS = 6
"""Number of tolerances, each 0.7 times the one before, at which a group is looked for."""
GRACE = 1.5
"""Tolerance of operations that complete a group, relative to that of the others."""
LARGEST = 160
"""Largest number of operations of a group: more than the icosahedral one has, and enough for rings of 40 atoms."""
UNLIKE = 0.4
"""Largest Frobenius norm of the difference of a product of two operations from an operation."""
EXACT = 1e-6
"""Largest displacement of an atom by an operation of an exact group, Å."""


SEVERAL = ("T", "Td", "Th", "O", "Oh", "I", "Ih", "Cinfv", "Dinfh")
"""Groups that are not of one family with a principal axis of finite order."""
FAMILIES = ("C{}", "C{}v", "C{}h", "D{}", "D{}h", "D{}d", "S{}")


def number_of(symbol: str) -> int:
    """Return the number of a point group in the list of this package, from 1; groups with axes of more than 30-fold symmetry have 230."""
    if symbol in ("C1", "Cs", "Ci"):
        return ("C1", "Cs", "Ci").index(symbol) + 1
    if symbol in SEVERAL:
        return 4 + SEVERAL.index(symbol)
    for n in range(2, 31):
        names = [name.format(2 * n if name == "S{}" else n) for name in FAMILIES]
        if symbol in names:
            return 13 + 7 * (n - 2) + names.index(symbol)
    return 230


def axis_of(op: np.ndarray) -> np.ndarray | None:
    """Return the unit vector of the axis of an orthogonal matrix (the normal of a mirror plane); None for 1 and -1."""
    proper = op * np.sign(np.linalg.det(op))
    if np.allclose(proper, np.eye(3), atol=1e-3):
        return None
    values, vectors = np.linalg.eig(proper)
    axis = np.real(vectors[:, int(np.argmin(abs(values - 1.0)))])
    return np.asarray(axis / np.linalg.norm(axis))


def _along_a_line(numbers: np.ndarray, positions: np.ndarray, others: np.ndarray, tolerance: float) -> list[np.ndarray]:
    """Return matrices that map a linear set of atoms onto another one."""
    a, b = np.linalg.svd(positions)[2][0], np.linalg.svd(others)[2][0]
    first = rotation_between(a, b)
    on_line = np.outer(others @ b, b)
    images = ((sign, np.outer(sign * (positions @ a), b)) for sign in (1.0, -1.0))
    return [sign * first for sign, image in images if mapping(numbers, on_line, image, tolerance) is not None]


def turned(axis: np.ndarray, angle: float) -> np.ndarray:
    """Return the rotation by an angle (radians) about a unit vector."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def rotation_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return a proper rotation that maps one unit vector onto another."""
    axis = np.cross(start, end)
    length, cosine = float(np.linalg.norm(axis)), float(start @ end)
    if length < 1e-9:
        if cosine > 0:
            return np.eye(3)
        other = np.eye(3)[int(np.argmin(abs(start)))]
        axis = np.cross(start, other)
        return turned(axis / np.linalg.norm(axis), np.pi)
    return turned(axis / length, float(np.arctan2(length, cosine)))


def _frame(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return an orthonormal frame as columns, whose first axis is u and whose plane contains v."""
    e1 = u / np.linalg.norm(u)
    e3 = np.cross(u, v)
    e3 = e3 / np.linalg.norm(e3)
    return np.stack([e1, np.cross(e3, e1), e3], axis=1)


def _fitted(start: np.ndarray, end: np.ndarray, determinant: float) -> np.ndarray:
    """Return the orthogonal matrix of a given determinant that maps `start` onto `end` best (W. Kabsch, doi 10.1107/S0567739476001873)."""
    u, _, vt = np.linalg.svd(start.T @ end)
    sign = np.sign(determinant) * np.sign(np.linalg.det(u @ vt))
    return np.asarray((u @ np.diag([1.0, 1.0, sign]) @ vt).T)
