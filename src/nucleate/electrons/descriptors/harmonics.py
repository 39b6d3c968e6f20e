"""Real solid harmonics of any degree by recurrence.

r^l Y_lm, orthonormal on the unit sphere, from (x + iy)^m and the associated Legendre polynomials in Cartesian form: T. Helgaker,
P. Jorgensen and J. Olsen, Molecular Electronic-Structure Theory (2000), section 6.4, doi 10.1002/9781119019572.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def solid_harmonics(x: Tensor, y: Tensor, z: Tensor, l_max: int, squared: Tensor | None = None) -> Tensor:
    """Return r^l Y_lm for l = 0..l_max, m = -l..l, as ((l_max + 1)², ...) for vectors of any shape (...).

    Args:
        x, y, z: Vector components.
        l_max: Maximum degree.
        squared: Value used for r² in the recurrence; default: x² + y² + z².
    """
    r2 = x * x + y * y + z * z if squared is None else squared
    rows: list[Tensor | None] = [None] * (l_max + 1) ** 2
    cosine, sine = torch.ones_like(x), torch.zeros_like(x)
    for m in range(l_max + 1):
        if m:
            cosine, sine = x * cosine - y * sine, x * sine + y * cosine
        # Pi_lm: r^(l-m) times the m-th derivative of the Legendre polynomial, with its normalisation.
        double = math.prod(range(1, 2 * m, 2))
        previous, current = torch.zeros_like(x), torch.full_like(x, double)
        for l in range(m, l_max + 1):
            norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - m) / math.factorial(l + m) * (1 if m == 0 else 2))
            scaled = norm * current
            rows[l * l + l + m] = scaled * cosine
            if m:
                rows[l * l + l - m] = scaled * sine
            previous, current = current, ((2 * l + 1) * z * current - (l + m) * r2 * previous) / (l - m + 1)
    return torch.stack([row for row in rows if row is not None])
