"""Quadrature on the unit sphere S³ in four dimensions, from orbits of the 600-cell or products of one-dimensional rules."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from scipy.special import eval_chebyu


def _normalised(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _icosians() -> np.ndarray:
    """Return the vertices (120, 4) of the 600-cell."""
    golden = (1 + math.sqrt(5)) / 2
    points = [sign * row for row in np.eye(4) for sign in (1, -1)]
    points += [np.array(signs) / 2 for signs in itertools.product((1, -1), repeat=4)]
    for order in itertools.permutations(range(4)):
        if np.linalg.det(np.eye(4)[list(order)]) > 0:
            for a, b, c in itertools.product((1, -1), repeat=3):
                points.append(np.array([a * golden, b, c / golden, 0])[list(order)] / 2)
    return _normalised(np.array(points))


def _symmetric_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points invariant under the symmetry of the 600-cell, for even polynomials up to `degree` (at most 30).

    The invariant polynomials of this group have degrees 12, 20, 24 (12 twice), 30, ... on the sphere, one each. A rule is exact with as
    many orbits or free parameters as there are such degrees, following Sobolev and McLaren.
    """
    corners = _icosians()
    near = np.abs(corners @ corners.T - math.cos(math.pi / 5)) < 1e-6
    edges = np.argwhere(np.triu(near))
    faces = np.array([(i, j, k) for i, j in edges for k in np.flatnonzero(near[i] & near[j]) if k > j])
    cells = np.array([(i, j, k, l) for i, j, k in faces for l in np.flatnonzero(near[i] & near[j] & near[k]) if l > k])
    orbits = [corners]
    if degree >= 12:
        orbits.append(corners[cells].sum(1))
    if 20 <= degree < 24:
        orbits.append(corners[edges].sum(1))
    if degree >= 24:
        # Find the position on the edges for which four weights satisfy the five conditions: the root for degree 30.
        s = 0.31391249570026325
        one, two = corners[edges[:, 0]], corners[edges[:, 1]]
        orbits += [corners[faces].sum(1), np.concatenate([(1 - s) * one + s * two, s * one + (1 - s) * two])]
    orbits = [_normalised(orbit) for orbit in orbits]
    # General direction: an invariant of one degree is proportional to the mean of U_degree over any orbit.
    probe = _normalised(np.array([[0.13, 0.51, -0.62, 0.3]]))[0]
    conditions = np.array([[eval_chebyu(d, orbit @ probe).mean() for orbit in orbits] for d in (0, 12, 20, 24, 30) if d <= degree])
    share = np.linalg.lstsq(conditions, np.eye(len(conditions))[0], rcond=None)[0]
    weights = np.concatenate([np.full(len(orbit), part / len(orbit)) for orbit, part in zip(orbits, share, strict=True)])
    return np.concatenate(orbits), weights


def _product_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the product of a Gauss-Legendre rule and two rings, for any degree, with more than twice the points of the symmetric rule."""
    nodes, node_weights = np.polynomial.legendre.leggauss(degree // 4 + 1)
    rings = degree + 2 - degree % 2
    angle = 2 * math.pi * np.arange(rings) / rings
    t, alpha, beta = np.meshgrid(nodes, angle, angle, indexing="ij")
    a, b = np.sqrt((1 + t) / 2), np.sqrt((1 - t) / 2)
    points = np.stack([a * np.cos(alpha), a * np.sin(alpha), b * np.cos(beta), b * np.sin(beta)], axis=-1).reshape(-1, 4)
    return points, np.repeat(node_weights / 2, rings * rings) / rings**2


@cache
def sphere_rule(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points (n, 4) and weights (n,) with sum 1 that average even polynomials up to `degree` exactly over the unit sphere S³.

    Only one point of each antipodal pair is included.
    """
    points, weights = _symmetric_rule(degree) if degree <= 30 else _product_rule(degree)
    first = np.argmax(np.abs(points) > 1e-9, axis=1)
    kept = np.take_along_axis(points, first[:, None], axis=1)[:, 0] > 0
    return points[kept], 2 * weights[kept]
