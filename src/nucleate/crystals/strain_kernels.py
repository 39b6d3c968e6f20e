"""Exponentials of many 3x3 matrices and their Fréchet derivatives, as numba kernels: torch takes half a millisecond for a few of them."""

from __future__ import annotations

import numpy as np
from numba import njit

from nucleate.crystals.kernel_options import OPTIONS

TERMS = 14
"""Number of terms of the Taylor series, which for matrices of norm 1/2 has an error below 1e-16."""


@njit(**OPTIONS)
def _add_product(a, b, factor, out):
    for i in range(3):
        for j in range(3):
            out[i, j] += factor * (a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j])


@njit(**OPTIONS)
def exponentials(matrices, directions, values, derivatives):
    """Compute exponentials and their derivatives along directions by scaling and squaring.

    Args:
        matrices, directions: (n, 3, 3).
        values: (n, 3, 3) exponentials; overwritten.
        derivatives: (n, 3, 3) Fréchet derivatives of the exponentials along the directions; overwritten.
    """
    term, change = np.empty((3, 3)), np.empty((3, 3))
    next_term, next_change = np.empty((3, 3)), np.empty((3, 3))
    for n in range(len(matrices)):
        size = np.abs(matrices[n]).sum()
        squarings = 0
        while size > 0.5 and squarings < 64:
            size *= 0.5
            squarings += 1
        scale = 0.5**squarings
        a, e = scale * matrices[n], scale * directions[n]
        value, derivative = values[n], derivatives[n]
        value[:] = np.eye(3)
        derivative[:] = 0.0
        term[:] = np.eye(3)
        change[:] = 0.0
        for k in range(1, TERMS + 1):
            next_term[:] = 0.0
            next_change[:] = 0.0
            _add_product(term, a, 1 / k, next_term)
            _add_product(change, a, 1 / k, next_change)
            _add_product(term, e, 1 / k, next_change)
            term[:] = next_term
            change[:] = next_change
            value += term
            derivative += change
        for _ in range(squarings):
            next_term[:] = 0.0
            next_change[:] = 0.0
            _add_product(value, value, 1.0, next_term)
            _add_product(value, derivative, 1.0, next_change)
            _add_product(derivative, value, 1.0, next_change)
            value[:] = next_term
            derivative[:] = next_change
