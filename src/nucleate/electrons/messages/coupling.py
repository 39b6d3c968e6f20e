"""Coupling of real spherical harmonics: the products of two features that turn like a third one."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from nucleate.potentials.harmonics import solid_harmonics

Path = tuple[int, int, int]
"""Degrees of the first factor, of the second one and of the product."""


def paths(degree: int) -> list[Path]:
    """Return the paths with an even sum of degrees, all at most `degree`; a product of odd sum would not change sign as its degree says."""
    every = range(degree + 1)
    return [(a, b, c) for a in every for b in every for c in every if abs(a - b) <= c <= a + b and (a + b + c) % 2 == 0]


@lru_cache
def coupling(path: Path) -> Tensor:
    """Return the table C (2 l1 + 1, 2 l2 + 1, 2 l3 + 1) of a path, float64.

    C is proportional to the integral of Y_l1m1 Y_l2m2 Y_l3m3 over directions (Gaunt's coefficient of real harmonics). It is scaled such
    that components of unit variance give components of unit variance. The quadrature is exact for these polynomials.
    """
    degree = sum(path)
    nodes, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    turns = degree + 1
    angle = 2 * np.pi * np.arange(turns) / turns
    z, phi = (part.ravel() for part in np.meshgrid(nodes, angle, indexing="ij"))
    across = np.sqrt(1 - z**2)
    x, y, up = (torch.tensor(part) for part in (across * np.cos(phi), across * np.sin(phi), z))
    values = solid_harmonics(x, y, up, max(path))
    first, second, third = (values[l * l : (l + 1) ** 2] for l in path)
    area = torch.tensor(np.repeat(weights, turns) * 2 * np.pi / turns)
    table = torch.einsum("aq,bq,cq,q->abc", first, second, third, area)
    table = torch.where(table.abs() < 1e-12, 0.0, table)
    return table * ((2 * path[2] + 1) / table.square().sum()).sqrt()
