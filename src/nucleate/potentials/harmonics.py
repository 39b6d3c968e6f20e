"""Real solid harmonics of any degree by recurrence.

r^l Y_lm, orthonormal on the unit sphere, from (x + iy)^m and the associated Legendre polynomials in Cartesian form: T. Helgaker,
P. Jorgensen and J. Olsen, Molecular Electronic-Structure Theory (2000), section 6.4, doi 10.1002/9781119019572.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def solid_harmonics(x: Tensor, y: Tensor, z: Tensor, l_max: int, dim: int = 0) -> Tensor:
    """Return r^l Y_lm for vectors of any shape (...), with an axis of (l_max + 1)² for l = 0..l_max, m = -l..l.

    Args:
        x, y, z: Vector components.
        l_max: Maximum degree.
        dim: Place of the new axis.
    """
    r2 = torch.addcmul(torch.addcmul(x * x, y, y), z, z)
    rows: list[Tensor] = [x] * (l_max + 1) ** 2
    cosine, sine = x, y
    for m in range(l_max + 1):
        if m > 1:
            cosine, sine = torch.addcmul(x * cosine, y, sine, value=-1), torch.addcmul(x * sine, y, cosine)
        # Pi_lm: r^(l-m) times the m-th derivative of the Legendre polynomial, with its normalisation. It is a number for l = m.
        first = _norm(m, m) * math.prod(range(1, 2 * m, 2))
        if m:
            rows[m * m + 2 * m], rows[m * m] = first * cosine, first * sine
        else:
            rows[0] = torch.full_like(x, first)
        before, last = x, x
        for l in range(m + 1, l_max + 1):
            step = (2 * l - 1) / (l - m) * _norm(l, m) / _norm(l - 1, m)
            if l == m + 1:
                pi = (step * first) * z
            else:
                skip = -(l + m - 1) / (l - m) * _norm(l, m) / _norm(l - 2, m)
                pi = torch.addcmul((skip * first) * r2 if l == m + 2 else skip * (r2 * before), z, last, value=step)
            before, last = last, pi
            if m:
                rows[l * l + l + m], rows[l * l + l - m] = pi * cosine, pi * sine
            else:
                rows[l * l + l] = pi
    return torch.stack(rows, dim)


def _norm(l: int, m: int) -> float:
    return math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m) * (1 if m == 0 else 2))
