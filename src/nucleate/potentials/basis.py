"""Basis functions of an edge: Bessel radial functions, real spherical harmonics, and their derivatives.

The atomic basis is that of the atomic cluster expansion (R. Drautz, Phys. Rev. B 99, 014104 (2019),
doi 10.1103/PhysRevB.99.014104): A_{klm}(i) = sum_j R_k(r_ij) Y_lm(r_ij / |r_ij|). The radial functions are
spherical Bessel functions with a smooth cutoff (J. Gasteiger et al., arXiv:2003.03123 (2020)).
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import permutations, product

import numpy as np
import torch
from torch import Tensor

from nucleate.potentials.harmonics import solid_harmonics

L_MAX = 3
N_LM = (L_MAX + 1) ** 2
DEGREES = tuple(l for l in range(L_MAX + 1) for _ in range(2 * l + 1))


def radial(distance: Tensor, count: int, cutoff: float) -> tuple[Tensor, Tensor]:
    """Evaluate radial functions R_k(r) = sqrt(2/rc) sin(k pi r/rc)/r * f(r) and their derivatives.

    f(r) = (1 - x^2)^3 with x = r/rc is twice differentiable at the cutoff; beyond the cutoff all values are zero.

    Args:
        distance: (rows, width) positive distances, Å.
        count: number of radial functions.
        cutoff: rc, Å.

    Returns:
        R and dR/dr, each (rows, count, width).
    """
    x = distance / cutoff
    inside = (x < 1).to(distance.dtype)
    shrink = (1 - x * x) * inside
    envelope = shrink**3
    envelope_slope = -6 * x / cutoff * shrink**2
    theta = math.pi * x
    # The Chebyshev recurrence gives sin(k t) and cos(k t) for all k from one sine and one cosine.
    sine, cosine = torch.sin(theta), torch.cos(theta)
    double = 2 * cosine
    sines, cosines = [torch.zeros_like(sine), sine], [torch.ones_like(sine), cosine]
    for _ in range(count - 1):
        sines.append(double * sines[-1] - sines[-2])
        cosines.append(double * cosines[-1] - cosines[-2])
    inverse = 1 / distance
    norm = math.sqrt(2 / cutoff)
    value = (norm * envelope * inverse).unsqueeze(1)
    waves = torch.stack(sines[1:], dim=1)
    frequency = torch.arange(1, count + 1, dtype=distance.dtype, device=distance.device) * (math.pi / cutoff)
    slope = value * torch.stack(cosines[1:], dim=1) * frequency.view(-1, 1)
    slope = slope + (norm * (envelope_slope - envelope * inverse) * inverse).unsqueeze(1) * waves
    return value * waves, slope


def harmonics(unit: Tensor) -> Tensor:
    """Evaluate real spherical harmonics l = 0..3, orthonormal on the sphere, of unit vectors: (n, 3, ...) to (n, 16, ...)."""
    x, y, z = unit.unbind(1)
    return solid_harmonics(x, y, z, L_MAX, dim=1)


@lru_cache(maxsize=1)
def sphere_rule() -> tuple[np.ndarray, np.ndarray]:
    """Return the Lebedev rule of degree 9: points (38, 3) on the unit sphere, and weights (38,) whose sum is 4 pi.

    V. I. Lebedev and D. N. Laikov, Dokl. Math. 59, 477 (1999). scipy's `lebedev_rule` has the same numbers, but every process would wait
    for the import of its module.
    """
    # Corners of an octahedron and of a cube, and all orders and signs of (p, q, 0).
    axes = np.concatenate([np.eye(3), -np.eye(3)])
    corners = np.array(list(product((-1, 1), repeat=3))) / 3**0.5
    p = 0.4597008433809831
    q = (1 - p * p) ** 0.5
    others = [order for a, b in product((p, -p), (q, -q)) for order in permutations((a, b, 0.0))]
    weights = np.repeat([1 / 105, 9 / 280, 1 / 35], [len(axes), len(corners), len(others)])
    return np.concatenate([axes, corners, others]), 4 * np.pi * weights


@lru_cache(maxsize=1)
def solid_gradient() -> np.ndarray:
    """Return D (3, 16, 16) with d(r^l Y_lm)/dx_a = sum_m' D[a, lm, l-1 m'] r^(l-1) Y_(l-1)m'.

    The gradient of a solid harmonic of degree l is a sum of solid harmonics of degree l - 1. The coefficients are computed by projecting
    the exact polynomial derivatives with a quadrature of sufficient degree.
    """
    points, weights = sphere_rule()
    unit = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    degree = torch.tensor(DEGREES, dtype=torch.float64)
    with torch.enable_grad():
        radius = unit.norm(dim=-1, keepdim=True)
        columns = (harmonics(unit / radius) * radius**degree).sum(0).unbind()
    values = harmonics(unit.detach()).numpy()
    result = np.zeros((3, N_LM, N_LM))
    for lm in range(N_LM):
        (gradient,) = torch.autograd.grad(columns[lm], unit, retain_graph=True)
        result[:, lm, :] = np.einsum("q,qa,qp->ap", weights, gradient.numpy(), values)
    result[np.abs(result) < 1e-12] = 0.0
    return result


@lru_cache(maxsize=1)
def quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Return the harmonics on a Lebedev grid of degree 9 (38 points) and its weights.

    The quadrature is exact for products of three functions with l <= 3, so the integral of f^3 is rotation invariant.

    Returns:
        Values (n_points, 16) and weights (n_points,).
    """
    points, weights = sphere_rule()
    return harmonics(torch.tensor(points)).numpy(), weights
