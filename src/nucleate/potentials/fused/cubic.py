"""Integral over the sphere of the cube of a function with l <= 3, as a polynomial of its 16 coefficients, for numba kernels.

Of the 680 products a_i a_j a_k with i >= j >= k >= 1 only 61 have a Gaunt coefficient that is not zero. Each of them is either a product
of two coefficients of odd and one of even degree or one of three coefficients of degree two. The constants are Gaunt coefficients times
the number of equal products; they were computed with the quadrature of `basis.quadrature`, to which a test compares the polynomial.
"""

from __future__ import annotations

from numba import njit

from nucleate.potentials.fused.options import INLINE, single

_G1 = single(0.2703356273593032)
_G2 = single(0.35039502049141114)
_G3 = single(0.356824823230555)
_G4 = single(0.3784698783030239)
_G5 = single(0.437019372236832)
_G6 = single(0.4682350416823199)
_G7 = single(0.5046265044040328)
_G8 = single(0.5406712547186063)
_G9 = single(0.5641895835477566)
_G10 = single(0.6307831305050402)
_G11 = single(0.6555290583552474)
_G12 = single(0.6909882989426714)
_G13 = single(0.7569397566060482)
_G14 = single(0.8582890086160124)
_G15 = single(0.8740387444736639)
_G16 = single(0.8920620580763864)
_G17 = single(0.9364700833646391)
_G18 = single(1.0092530088080656)
_G19 = single(1.0813425094372116)
_G20 = single(1.1080463455342306)
_G21 = single(1.1283791670955117)
_G22 = single(1.2138039564205236)
_G23 = single(1.2615662610100804)
_G24 = single(1.3110581167104949)
_G25 = single(1.3570740789572422)
_G26 = single(1.4015800819656454)
_G27 = single(1.4866001705008567)
_G28 = single(1.5138795132120964)


@njit(**INLINE)
def slopes_by_pairs(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15):
    """Return the derivatives with respect to a4..a8 of the products of two coefficients of odd and one of even degree."""
    h4 = (
        _G24 * a1 * a3
        - _G2 * a1 * a13
        - _G25 * a1 * a15
        + _G20 * a2 * a10
        + _G25 * a3 * a9
        - _G2 * a3 * a11
        - _G9 * a9 * a13
        - _G21 * a10 * a12
        + _G15 * a11 * a13
        + _G9 * a11 * a15
    )
    h5 = (
        _G24 * a1 * a2
        - _G14 * a1 * a12
        - _G20 * a1 * a14
        + _G26 * a2 * a11
        + _G20 * a3 * a10
        + _G16 * a9 * a14
        + _G12 * a10 * a13
        - _G16 * a10 * a15
        + _G3 * a11 * a12
        - _G12 * a11 * a14
    )
    h6 = (
        -_G4 * a1 * a1
        + _G22 * a1 * a11
        + _G13 * a2 * a2
        + _G27 * a2 * a12
        - _G4 * a3 * a3
        + _G22 * a3 * a13
        - _G10 * a9 * a9
        + _G4 * a11 * a11
        + _G7 * a12 * a12
        + _G4 * a13 * a13
        - _G10 * a15 * a15
    )
    h7 = (
        _G20 * a1 * a10
        + _G24 * a2 * a3
        + _G26 * a2 * a13
        - _G14 * a3 * a12
        + _G20 * a3 * a14
        + _G16 * a9 * a10
        + _G12 * a10 * a11
        + _G3 * a12 * a13
        + _G12 * a13 * a14
        + _G16 * a14 * a15
    )
    h8 = (
        -_G11 * a1 * a1
        + _G25 * a1 * a9
        + _G2 * a1 * a11
        + _G20 * a2 * a14
        + _G11 * a3 * a3
        - _G2 * a3 * a13
        + _G25 * a3 * a15
        - _G9 * a9 * a11
        - _G5 * a11 * a11
        - _G21 * a12 * a14
        + _G5 * a13 * a13
        - _G9 * a13 * a15
    )
    return h4, h5, h6, h7, h8


@njit(**INLINE)
def slopes_of_degree_two(a4, a5, a6, a7, a8):
    """Return the derivatives with respect to a4..a8 of the products of three coefficients of degree two."""
    q4 = -_G19 * a4 * a6 + _G17 * a5 * a7
    q5 = _G17 * a4 * a7 + _G8 * a5 * a6 - _G17 * a5 * a8
    q6 = -_G8 * a4 * a4 + _G1 * a5 * a5 + _G8 * a6 * a6 + _G1 * a7 * a7 - _G8 * a8 * a8
    q7 = _G17 * a4 * a5 + _G8 * a6 * a7 + _G17 * a7 * a8
    q8 = -_G6 * a5 * a5 - _G19 * a6 * a8 + _G6 * a7 * a7
    return q4, q5, q6, q7, q8


@njit(**INLINE)
def slopes_of_odd_degree(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15):
    """Return the derivatives with respect to a1..a3 and a9..a15, which are linear in a4..a8 and in the others."""
    g1 = (
        -_G13 * a6 * a1
        - _G24 * a8 * a1
        + _G24 * a5 * a2
        + _G24 * a4 * a3
        + _G25 * a8 * a9
        + _G20 * a7 * a10
        + _G22 * a6 * a11
        + _G2 * a8 * a11
        - _G14 * a5 * a12
        - _G2 * a4 * a13
        - _G20 * a5 * a14
        - _G25 * a4 * a15
    )
    g2 = (
        _G24 * a5 * a1
        + _G28 * a6 * a2
        + _G24 * a7 * a3
        + _G20 * a4 * a10
        + _G26 * a5 * a11
        + _G27 * a6 * a12
        + _G26 * a7 * a13
        + _G20 * a8 * a14
    )
    g3 = (
        _G24 * a4 * a1
        + _G24 * a7 * a2
        - _G13 * a6 * a3
        + _G24 * a8 * a3
        + _G25 * a4 * a9
        + _G20 * a5 * a10
        - _G2 * a4 * a11
        - _G14 * a7 * a12
        + _G22 * a6 * a13
        - _G2 * a8 * a13
        + _G20 * a7 * a14
        + _G25 * a8 * a15
    )
    g9 = _G25 * a8 * a1 + _G25 * a4 * a3 - _G23 * a6 * a9 + _G16 * a7 * a10 - _G9 * a8 * a11 - _G9 * a4 * a13 + _G16 * a5 * a14
    g10 = (
        _G20 * a7 * a1
        + _G20 * a4 * a2
        + _G20 * a5 * a3
        + _G16 * a7 * a9
        + _G12 * a7 * a11
        - _G21 * a4 * a12
        + _G12 * a5 * a13
        - _G16 * a5 * a15
    )
    g11 = (
        _G22 * a6 * a1
        + _G2 * a8 * a1
        + _G26 * a5 * a2
        - _G2 * a4 * a3
        - _G9 * a8 * a9
        + _G12 * a7 * a10
        + _G13 * a6 * a11
        - _G15 * a8 * a11
        + _G3 * a5 * a12
        + _G15 * a4 * a13
        - _G12 * a5 * a14
        + _G9 * a4 * a15
    )
    g12 = (
        -_G14 * a5 * a1
        + _G27 * a6 * a2
        - _G14 * a7 * a3
        - _G21 * a4 * a10
        + _G3 * a5 * a11
        + _G18 * a6 * a12
        + _G3 * a7 * a13
        - _G21 * a8 * a14
    )
    g13 = (
        -_G2 * a4 * a1
        + _G26 * a7 * a2
        + _G22 * a6 * a3
        - _G2 * a8 * a3
        - _G9 * a4 * a9
        + _G12 * a5 * a10
        + _G15 * a4 * a11
        + _G3 * a7 * a12
        + _G13 * a6 * a13
        + _G15 * a8 * a13
        + _G12 * a7 * a14
        - _G9 * a8 * a15
    )
    g14 = (
        -_G20 * a5 * a1
        + _G20 * a8 * a2
        + _G20 * a7 * a3
        + _G16 * a5 * a9
        - _G12 * a5 * a11
        - _G21 * a8 * a12
        + _G12 * a7 * a13
        + _G16 * a7 * a15
    )
    g15 = -_G25 * a4 * a1 + _G25 * a8 * a3 - _G16 * a5 * a10 + _G9 * a4 * a11 - _G9 * a8 * a13 + _G16 * a7 * a14 - _G23 * a6 * a15
    return g1, g2, g3, g9, g10, g11, g12, g13, g14, g15


@njit(**INLINE)
def change_by_pairs(a1, a2, a3, a9, a10, a11, a12, a13, a14, a15, w1, w2, w3, w9, w10, w11, w12, w13, w14, w15):
    """Return the change of `slopes_by_pairs` along a direction w."""
    h4 = (
        _G24 * (a1 * w3 + a3 * w1)
        - _G2 * (a1 * w13 + a13 * w1)
        - _G25 * (a1 * w15 + a15 * w1)
        + _G20 * (a2 * w10 + a10 * w2)
        + _G25 * (a3 * w9 + a9 * w3)
        - _G2 * (a3 * w11 + a11 * w3)
        - _G9 * (a9 * w13 + a13 * w9)
        - _G21 * (a10 * w12 + a12 * w10)
        + _G15 * (a11 * w13 + a13 * w11)
        + _G9 * (a11 * w15 + a15 * w11)
    )
    h5 = (
        _G24 * (a1 * w2 + a2 * w1)
        - _G14 * (a1 * w12 + a12 * w1)
        - _G20 * (a1 * w14 + a14 * w1)
        + _G26 * (a2 * w11 + a11 * w2)
        + _G20 * (a3 * w10 + a10 * w3)
        + _G16 * (a9 * w14 + a14 * w9)
        + _G12 * (a10 * w13 + a13 * w10)
        - _G16 * (a10 * w15 + a15 * w10)
        + _G3 * (a11 * w12 + a12 * w11)
        - _G12 * (a11 * w14 + a14 * w11)
    )
    h6 = (
        -_G13 * a1 * w1
        + _G22 * (a1 * w11 + a11 * w1)
        + _G28 * a2 * w2
        + _G27 * (a2 * w12 + a12 * w2)
        - _G13 * a3 * w3
        + _G22 * (a3 * w13 + a13 * w3)
        - _G23 * a9 * w9
        + _G13 * a11 * w11
        + _G18 * a12 * w12
        + _G13 * a13 * w13
        - _G23 * a15 * w15
    )
    h7 = (
        _G20 * (a1 * w10 + a10 * w1)
        + _G24 * (a2 * w3 + a3 * w2)
        + _G26 * (a2 * w13 + a13 * w2)
        - _G14 * (a3 * w12 + a12 * w3)
        + _G20 * (a3 * w14 + a14 * w3)
        + _G16 * (a9 * w10 + a10 * w9)
        + _G12 * (a10 * w11 + a11 * w10)
        + _G3 * (a12 * w13 + a13 * w12)
        + _G12 * (a13 * w14 + a14 * w13)
        + _G16 * (a14 * w15 + a15 * w14)
    )
    h8 = (
        -_G24 * a1 * w1
        + _G25 * (a1 * w9 + a9 * w1)
        + _G2 * (a1 * w11 + a11 * w1)
        + _G20 * (a2 * w14 + a14 * w2)
        + _G24 * a3 * w3
        - _G2 * (a3 * w13 + a13 * w3)
        + _G25 * (a3 * w15 + a15 * w3)
        - _G9 * (a9 * w11 + a11 * w9)
        - _G15 * a11 * w11
        - _G21 * (a12 * w14 + a14 * w12)
        + _G15 * a13 * w13
        - _G9 * (a13 * w15 + a15 * w13)
    )
    return h4, h5, h6, h7, h8


@njit(**INLINE)
def change_of_degree_two(a4, a5, a6, a7, a8, w4, w5, w6, w7, w8):
    """Return the change of `slopes_of_degree_two` along a direction w."""
    q4 = -_G19 * (a4 * w6 + a6 * w4) + _G17 * (a5 * w7 + a7 * w5)
    q5 = _G17 * (a4 * w7 + a7 * w4) + _G8 * (a5 * w6 + a6 * w5) - _G17 * (a5 * w8 + a8 * w5)
    q6 = -_G19 * a4 * w4 + _G8 * a5 * w5 + _G19 * a6 * w6 + _G8 * a7 * w7 - _G19 * a8 * w8
    q7 = _G17 * (a4 * w5 + a5 * w4) + _G8 * (a6 * w7 + a7 * w6) + _G17 * (a7 * w8 + a8 * w7)
    q8 = -_G17 * a5 * w5 - _G19 * (a6 * w8 + a8 * w6) + _G17 * a7 * w7
    return q4, q5, q6, q7, q8
