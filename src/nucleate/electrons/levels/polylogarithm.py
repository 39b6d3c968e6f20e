"""Polylogarithms of -exp(-x), the integrals of the Fermi-Dirac function.

With Li_1(-exp(-x)) = -ln(1 + exp(-x)) and d Li_s(-exp(-x))/dx = -Li_(s-1)(-exp(-x)),

    Li_2(z) = sum_n B_n u^(n+1) / (n+1)!,    Li_3(z) = sum_n C_n u^(n+1) / (n+1)!,    u = -ln(1 - z),

B_n the Bernoulli numbers, C_n = sum_k binom(n, k) B_(n-k) B_k / (k+1): G. 't Hooft and M. Veltman, Nucl. Phys. B 153, 365 (1979),
doi 10.1016/0550-3213(79)90605-9. For x < 0 the inversion formulas of L. Lewin, Polylogarithms and Associated Functions (1981).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.special import bernoulli, comb
from torch import Tensor

_TERMS = 24
# With |u| <= ln 2 the terms decrease as (u / 2 pi)^n: 24 terms reach float64 precision.
_B = bernoulli(_TERMS)
_SECOND = [_B[n] / math.factorial(n + 1) for n in range(_TERMS)]
_THIRD = [sum(comb(n, k) * _B[n - k] * _B[k] / (k + 1) for k in range(n + 1)) / math.factorial(n + 1) for n in range(_TERMS)]


def _series(coefficients: list[float], u: Tensor) -> Tensor:
    total = torch.zeros_like(u)
    for coefficient in reversed(coefficients):
        total = total * u + coefficient
    return total * u


def _value(order: int, x: Tensor) -> Tensor:
    u = -torch.log1p(torch.exp(-x.abs()))
    low = torch.clamp(x, max=0.0)
    if order == 2:
        inner = _series(_SECOND, u)
        return torch.where(x >= 0, inner, -inner - math.pi**2 / 6 - low**2 / 2)
    inner = _series(_THIRD, u)
    return torch.where(x >= 0, inner, inner + math.pi**2 / 6 * low + low**3 / 6)


class _Polylogarithm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, order: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.order = order
        return _value(order, x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return gradient[0] * -polylogarithm(ctx.order - 1, x), None


def polylogarithm(order: int, x: Tensor) -> Tensor:
    """Return Li_order(-exp(-x)) for order 1, 2 or 3 and any real x; arbitrarily often differentiable."""
    if order == 1:
        return -torch.nn.functional.softplus(-x)
    if order not in (2, 3):
        raise ValueError(f"order {order} is not supported; use 1, 2 or 3")
    result: Tensor = _Polylogarithm.apply(x, order)
    return result
