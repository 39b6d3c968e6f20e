"""Logarithm, exponential, sine and cosine without branches, and random numbers, for numba loops that use vector instructions.

Calls of a mathematical library keep a loop from being vectorised. The functions here agree with it to 1e-14 relative to the largest value
of their range. Normal numbers: G. E. P. Box, M. E. Muller, Ann. Math. Stat. 29, 610 (1958), doi 10.1214/aoms/1177706645.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

FAST = {"contract", "nsz", "arcp"}
"""Floating-point freedoms of the kernels: fused operations, the sign of zero, reciprocals."""
KERNEL: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": FAST, "error_model": "numpy"}
INLINE: dict[str, Any] = {"inline": "always", "fastmath": FAST, "error_model": "numpy"}
_LN2 = 0.6931471805599453
_ROUND = 6755399441055744.0
"""1.5 * 2^52: adding it rounds to an integer, which the lowest bits then contain."""


def _cast(given: Any, wanted: Any) -> Any:
    """Return a function for numba code that reads the bits of a number as another type of the same size."""

    def typed(context: Any, number: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(wanted))

        return wanted(given), code

    return intrinsic(typed)


_bits = _cast(types.float64, types.uint64)
_float = _cast(types.uint64, types.float64)


@njit(**INLINE)
def log(x):
    """Return the natural logarithm of a positive normal number."""
    shifted = _bits(x) + np.uint64(0x3FF0000000000000 - 0x3FE6A09E667F3BCD)
    # x = 2^k m with m between the roots of 1/2 and 2.
    m = _float((shifted & np.uint64(0x000FFFFFFFFFFFFF)) + np.uint64(0x3FE6A09E667F3BCD))
    k = _float((shifted >> np.uint64(52)) | np.uint64(0x4330000000000000)) - (4503599627370496.0 + 1023.0)
    f = (m - 1.0) / (m + 1.0)
    f2 = f * f
    # The series of 2 artanh(f).
    p = 2.0 / 19
    for n in (17, 15, 13, 11, 9, 7, 5, 3):
        p = p * f2 + 2.0 / n
    return k * _LN2 + (2.0 * f + f * f2 * p)


@njit(**INLINE)
def exp_negative(x):
    """Return exp(x) for x <= 0; below -700, exp(-700)."""
    y = max(x, -700.0)
    shifted = y / _LN2 + _ROUND
    k = shifted - _ROUND
    r = y - k * 0.693147180369123816490 - k * 1.90821492927058770002e-10
    p = 1.0
    for n in (13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1):
        p = 1.0 + r * p / n
    # The lowest bits of `shifted` are k in two's complement; the exponent's offset makes them positive.
    return p * _float((_bits(shifted) + np.uint64(1023)) << np.uint64(52))


@njit(**INLINE)
def sine_cosine(u):
    """Return sin(2 pi u) and cos(2 pi u) for u from 0 to 1."""
    q = np.floor(4.0 * u + 0.5)
    t = (u - 0.25 * q) * 6.283185307179586
    t2 = t * t
    s, c = 1.0, 1.0
    for n in (16, 14, 12, 10, 8, 6, 4, 2):
        s = 1.0 - s * t2 / (n * (n + 1))
        c = 1.0 - c * t2 / (n * (n - 1))
    s = s * t
    # A quarter turn exchanges them, half a turn changes their signs.
    half = np.floor(0.5 * q)
    odd = q - 2.0 * half
    sign = 1.0 - 2.0 * (half - 2.0 * np.floor(0.5 * half))
    return sign * (s * (1.0 - odd) + c * odd), sign * (c * (1.0 - odd) - s * odd)


@njit(**KERNEL)
def uniforms(out, count, rng):
    """Fill the first `count` elements of an array with random numbers from 0 to 1, without 1."""
    for i in range(count):
        out[i] = rng.random()


@njit(**KERNEL)
def normals(out, width, uniform, rng):
    """Fill an array (n,) with normal numbers of standard deviation `width`, by way of the array `uniform` of even length."""
    size = len(uniform)
    half = size // 2
    first, second = uniform[:half], uniform[half:]
    for start in range(0, len(out), size):
        uniforms(uniform, size, rng)
        for i in range(half):
            radius = width * np.sqrt(-2.0 * log(1.0 - first[i]))
            s, c = sine_cosine(second[i])
            first[i], second[i] = radius * s, radius * c
        count = min(size, len(out) - start)
        out[start : start + count] = uniform[:count]
