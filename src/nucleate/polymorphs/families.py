"""Families of structures by their distances, without a given number of families."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

WEAK = 0.25
"""Mean silhouette below which no families are found: L. Kaufman and P. J. Rousseeuw, Finding Groups in Data (1990), chapter 2."""


def families(distances: np.ndarray) -> np.ndarray:
    """Return the family of each structure.

    Structures are merged by average linkage. Of all numbers of families the one with the largest mean silhouette is chosen:
    P. J. Rousseeuw, J. Comput. Appl. Math. 20, 53 (1987), doi 10.1016/0377-0427(87)90125-7.

    Args:
        distances: (n, n) symmetric distances; infinity for structures that cannot be compared, which are never in one family.

    Returns:
        (n,) integers from 0, in the order of the first member. Without clear families every structure has its own.
    """
    n = len(distances)
    if n < 3:
        return np.arange(n)
    finite = np.isfinite(distances)
    # Structures that cannot be compared are farther apart than all that can.
    far = 10 * max(float(distances[finite].max()), 1e-12)
    matrix = np.where(finite, distances, far)
    matrix = 0.5 * (matrix + matrix.T)
    np.fill_diagonal(matrix, 0.0)
    tree = linkage(squareform(matrix, checks=False), "average")
    best, score = np.arange(n), WEAK
    labels = np.arange(n)
    for step, (one, other, height, _) in enumerate(tree[: n - 2]):
        if height > 0.5 * far:
            break
        labels = np.where((labels == one) | (labels == other), n + step, labels)
        now = silhouette(matrix, labels)
        if now > score:
            best, score = labels, now
    _, first, inverse = np.unique(best, return_index=True, return_inverse=True)
    result: np.ndarray = np.argsort(np.argsort(first))[inverse]
    return result


def expansion(labels: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Expand a property over families: each structure is described by the mean of its family.

    Args:
        labels: (n,) families, integers from 0.
        values: (n,) the property.

    Returns:
        (k,) means of the families, and the share of the variance of the property that they explain, adjusted for their number as R² of a
        regression is; NaN without variance, or if no family has two members.
    """
    size = np.bincount(labels)
    means: np.ndarray = np.bincount(labels, weights=values) / np.maximum(size, 1)
    left, total = len(labels) - len(size), float(((values - values.mean()) ** 2).sum())
    if left < 1 or total < 1e-24:
        return means, float("nan")
    inside = float(((values - means[labels]) ** 2).sum())
    return means, 1.0 - (inside / left) / (total / (len(labels) - 1))


def silhouette(distances: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of (b - a) / max(a, b), where a is the mean distance of a structure to the others of its family.

    b is the smallest mean distance to the structures of another family. A structure alone in its family counts as 0.

    Args:
        distances: (n, n) distances.
        labels: (n,) families, at least two.
    """
    _, labels = np.unique(labels, return_inverse=True)
    member = np.eye(int(labels.max()) + 1)[labels]
    size = member.sum(0)
    mean = distances @ member
    own = np.arange(len(labels))
    inside = mean[own, labels] / np.maximum(size[labels] - 1, 1)
    outside = mean / size
    outside[own, labels] = np.inf
    nearest = outside.min(1)
    value = (nearest - inside) / np.maximum(np.maximum(nearest, inside), 1e-300)
    return float(np.where(size[labels] > 1, value, 0.0).mean())
