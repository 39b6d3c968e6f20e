"""Invariants of the mixed atomic basis and their derivatives, as numba kernels that are vectorised over the channels of all members.

The formulas are those of `ManyBodyCommittee.features`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.potentials.fused.cubic import (
    change_by_pairs,
    change_of_degree_two,
    slopes_by_pairs,
    slopes_of_degree_two,
    slopes_of_odd_degree,
)
from nucleate.potentials.fused.options import INLINE, OPTIONS, single

TILE = 128
"""Number of channels calculated at a time. Rows of a tile have a fixed distance in memory, without which LLVM does not vectorise."""
KINDS = 6
"""Number of invariants of a channel: the one of degree zero, the powers of the degrees 0 to 3, and the cubic one."""

_Y00 = 1 / math.sqrt(4 * math.pi)
_Y1, _Y3, _Y6 = single(_Y00), single(3 * _Y00), single(6 * _Y00)
_THIRD = single(1 / 3)
_P0, _P1, _P2, _P3 = (single(1 / math.sqrt(2 * l + 1)) for l in range(4))
_D0, _D1, _D2, _D3 = (single(2 / math.sqrt(2 * l + 1)) for l in range(4))


@njit(**INLINE)
def _copy(source, target, count):
    for c in range(count):
        target[c] = source[c]


@njit(**OPTIONS)
def _invariants_of_tile(a, out, count):
    for c in range(count):
        a0 = a[c]
        a1 = a[TILE + c]
        a2 = a[2 * TILE + c]
        a3 = a[3 * TILE + c]
        a4 = a[4 * TILE + c]
        a5 = a[5 * TILE + c]
        a6 = a[6 * TILE + c]
        a7 = a[7 * TILE + c]
        a8 = a[8 * TILE + c]
        a9 = a[9 * TILE + c]
        a10 = a[10 * TILE + c]
        a11 = a[11 * TILE + c]
        a12 = a[12 * TILE + c]
        a13 = a[13 * TILE + c]
        a14 = a[14 * TILE + c]
        a15 = a[15 * TILE + c]
        s0 = a0 * a0
        s1 = a1 * a1 + a2 * a2 + a3 * a3
        s2 = a4 * a4 + a5 * a5 + a6 * a6 + a7 * a7 + a8 * a8
        s3 = a9 * a9 + a10 * a10 + a11 * a11 + a12 * a12 + a13 * a13 + a14 * a14 + a15 * a15
        h4, h5, h6, h7, h8 = slopes_by_pairs(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15)
        q4, q5, q6, q7, q8 = slopes_of_degree_two(a4, a5, a6, a7, a8)
        out[c] = a0
        out[TILE + c] = _P0 * s0
        out[2 * TILE + c] = _P1 * s1
        out[3 * TILE + c] = _P2 * s2
        out[4 * TILE + c] = _P3 * s3
        # Euler's theorem: a homogeneous polynomial of degree n is the sum of its slopes times its variables, divided by n.
        mixed = a4 * (h4 + _THIRD * q4) + a5 * (h5 + _THIRD * q5) + a6 * (h6 + _THIRD * q6) + a7 * (h7 + _THIRD * q7)
        out[5 * TILE + c] = a0 * (_Y1 * s0 + _Y3 * (s1 + s2 + s3)) + (mixed + a8 * (h8 + _THIRD * q8))


@njit(**OPTIONS)
def _slopes_of_tile(a, up, out, count):
    for c in range(count):
        a0 = a[c]
        a1 = a[TILE + c]
        a2 = a[2 * TILE + c]
        a3 = a[3 * TILE + c]
        a4 = a[4 * TILE + c]
        a5 = a[5 * TILE + c]
        a6 = a[6 * TILE + c]
        a7 = a[7 * TILE + c]
        a8 = a[8 * TILE + c]
        a9 = a[9 * TILE + c]
        a10 = a[10 * TILE + c]
        a11 = a[11 * TILE + c]
        a12 = a[12 * TILE + c]
        a13 = a[13 * TILE + c]
        a14 = a[14 * TILE + c]
        a15 = a[15 * TILE + c]
        s = a0 * a0
        s = s + a1 * a1 + a2 * a2 + a3 * a3 + a4 * a4 + a5 * a5 + a6 * a6 + a7 * a7 + a8 * a8
        s = s + a9 * a9 + a10 * a10 + a11 * a11 + a12 * a12 + a13 * a13 + a14 * a14 + a15 * a15
        h4, h5, h6, h7, h8 = slopes_by_pairs(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15)
        q4, q5, q6, q7, q8 = slopes_of_degree_two(a4, a5, a6, a7, a8)
        g1, g2, g3, g9, g10, g11, g12, g13, g14, g15 = slopes_of_odd_degree(
            a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15
        )
        cubic = up[5 * TILE + c]
        both = _Y6 * a0 * cubic
        d1 = _D1 * up[2 * TILE + c] + both
        d2 = _D2 * up[3 * TILE + c] + both
        d3 = _D3 * up[4 * TILE + c] + both
        out[c] = up[c] + _D0 * a0 * up[TILE + c] + _Y3 * s * cubic
        out[TILE + c] = a1 * d1 + g1 * cubic
        out[2 * TILE + c] = a2 * d1 + g2 * cubic
        out[3 * TILE + c] = a3 * d1 + g3 * cubic
        out[4 * TILE + c] = a4 * d2 + (h4 + q4) * cubic
        out[5 * TILE + c] = a5 * d2 + (h5 + q5) * cubic
        out[6 * TILE + c] = a6 * d2 + (h6 + q6) * cubic
        out[7 * TILE + c] = a7 * d2 + (h7 + q7) * cubic
        out[8 * TILE + c] = a8 * d2 + (h8 + q8) * cubic
        out[9 * TILE + c] = a9 * d3 + g9 * cubic
        out[10 * TILE + c] = a10 * d3 + g10 * cubic
        out[11 * TILE + c] = a11 * d3 + g11 * cubic
        out[12 * TILE + c] = a12 * d3 + g12 * cubic
        out[13 * TILE + c] = a13 * d3 + g13 * cubic
        out[14 * TILE + c] = a14 * d3 + g14 * cubic
        out[15 * TILE + c] = a15 * d3 + g15 * cubic


@njit(**OPTIONS)
def invariants(mixed, out):
    """Calculate the invariants of atoms.

    Args:
        mixed: (16, n, m * c) mixed atomic basis.
        out: (m, n, 6, c) invariants; overwritten.
    """
    members, n, _, channels = out.shape
    together = max(1, TILE // channels)
    a, made = np.zeros(16 * TILE, np.float32), np.zeros(KINDS * TILE, np.float32)
    for i in range(n):
        for first in range(0, members, together):
            some = min(together, members - first)
            count = some * channels
            for lm in range(16):
                _copy(mixed[lm, i, first * channels :], a[lm * TILE :], count)
            _invariants_of_tile(a, made, count)
            for kind in range(KINDS):
                for m in range(some):
                    _copy(made[kind * TILE + m * channels :], out[first + m, i, kind], channels)


@njit(**OPTIONS)
def invariant_slopes(mixed, upstream, out):
    """Convert derivatives with respect to the invariants to derivatives with respect to the mixed atomic basis.

    Args:
        mixed: (16, n, m * c) mixed atomic basis.
        upstream: (m, n, 6, c) derivatives with respect to the invariants.
        out: (16, n, m * c) derivatives with respect to the mixed basis; overwritten.
    """
    members, n, _, channels = upstream.shape
    together = max(1, TILE // channels)
    a, up, made = np.zeros(16 * TILE, np.float32), np.zeros(KINDS * TILE, np.float32), np.zeros(16 * TILE, np.float32)
    for i in range(n):
        for first in range(0, members, together):
            some = min(together, members - first)
            count = some * channels
            for lm in range(16):
                _copy(mixed[lm, i, first * channels :], a[lm * TILE :], count)
            for kind in range(KINDS):
                for m in range(some):
                    _copy(upstream[first + m, i, kind], up[kind * TILE + m * channels :], channels)
            _slopes_of_tile(a, up, made, count)
            for lm in range(16):
                _copy(made[lm * TILE :], out[lm, i, first * channels :], count)


@njit(**OPTIONS)
def _curvature_of_tile(a, up, w, out, along, count):
    for c in range(count):
        a0 = a[c]
        a1 = a[TILE + c]
        a2 = a[2 * TILE + c]
        a3 = a[3 * TILE + c]
        a4 = a[4 * TILE + c]
        a5 = a[5 * TILE + c]
        a6 = a[6 * TILE + c]
        a7 = a[7 * TILE + c]
        a8 = a[8 * TILE + c]
        a9 = a[9 * TILE + c]
        a10 = a[10 * TILE + c]
        a11 = a[11 * TILE + c]
        a12 = a[12 * TILE + c]
        a13 = a[13 * TILE + c]
        a14 = a[14 * TILE + c]
        a15 = a[15 * TILE + c]
        w0 = w[c]
        w1 = w[TILE + c]
        w2 = w[2 * TILE + c]
        w3 = w[3 * TILE + c]
        w4 = w[4 * TILE + c]
        w5 = w[5 * TILE + c]
        w6 = w[6 * TILE + c]
        w7 = w[7 * TILE + c]
        w8 = w[8 * TILE + c]
        w9 = w[9 * TILE + c]
        w10 = w[10 * TILE + c]
        w11 = w[11 * TILE + c]
        w12 = w[12 * TILE + c]
        w13 = w[13 * TILE + c]
        w14 = w[14 * TILE + c]
        w15 = w[15 * TILE + c]
        dot0 = a0 * w0
        dot1 = a1 * w1 + a2 * w2 + a3 * w3
        dot2 = a4 * w4 + a5 * w5 + a6 * w6 + a7 * w7 + a8 * w8
        dot3 = a9 * w9 + a10 * w10 + a11 * w11 + a12 * w12 + a13 * w13 + a14 * w14 + a15 * w15
        h4, h5, h6, h7, h8 = slopes_by_pairs(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15)
        q4, q5, q6, q7, q8 = slopes_of_degree_two(a4, a5, a6, a7, a8)
        g1, g2, g3, g9, g10, g11, g12, g13, g14, g15 = slopes_of_odd_degree(
            a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15
        )
        s = a0 * a0
        s = s + a1 * a1 + a2 * a2 + a3 * a3 + a4 * a4 + a5 * a5 + a6 * a6 + a7 * a7 + a8 * a8
        s = s + a9 * a9 + a10 * a10 + a11 * a11 + a12 * a12 + a13 * a13 + a14 * a14 + a15 * a15
        cubic = _Y3 * s * w0 + _Y6 * a0 * (dot1 + dot2 + dot3)
        cubic = cubic + g1 * w1 + g2 * w2 + g3 * w3 + g9 * w9 + g10 * w10 + g11 * w11 + g12 * w12 + g13 * w13 + g14 * w14 + g15 * w15
        cubic = cubic + (h4 + q4) * w4 + (h5 + q5) * w5 + (h6 + q6) * w6 + (h7 + q7) * w7 + (h8 + q8) * w8
        along[c] = w0
        along[TILE + c] = _D0 * dot0
        along[2 * TILE + c] = _D1 * dot1
        along[3 * TILE + c] = _D2 * dot2
        along[4 * TILE + c] = _D3 * dot3
        along[5 * TILE + c] = cubic
        v = up[5 * TILE + c]
        n4, n5, n6, n7, n8 = change_by_pairs(a1, a2, a3, a9, a10, a11, a12, a13, a14, a15, w1, w2, w3, w9, w10, w11, w12, w13, w14, w15)
        m4, m5, m6, m7, m8 = change_of_degree_two(a4, a5, a6, a7, a8, w4, w5, w6, w7, w8)
        k1, k2, k3, k9, k10, k11, k12, k13, k14, k15 = slopes_of_odd_degree(
            w1, w2, w3, a4, a5, a6, a7, a8, w9, w10, w11, w12, w13, w14, w15
        )
        r1, r2, r3, r9, r10, r11, r12, r13, r14, r15 = slopes_of_odd_degree(
            a1, a2, a3, w4, w5, w6, w7, w8, a9, a10, a11, a12, a13, a14, a15
        )
        both, other = _Y6 * a0 * v, _Y6 * w0 * v
        d1 = _D1 * up[2 * TILE + c] + both
        d2 = _D2 * up[3 * TILE + c] + both
        d3 = _D3 * up[4 * TILE + c] + both
        out[c] = _D0 * up[TILE + c] * w0 + _Y6 * v * (dot0 + dot1 + dot2 + dot3)
        out[TILE + c] = w1 * d1 + a1 * other + (k1 + r1) * v
        out[2 * TILE + c] = w2 * d1 + a2 * other + (k2 + r2) * v
        out[3 * TILE + c] = w3 * d1 + a3 * other + (k3 + r3) * v
        out[4 * TILE + c] = w4 * d2 + a4 * other + (n4 + m4) * v
        out[5 * TILE + c] = w5 * d2 + a5 * other + (n5 + m5) * v
        out[6 * TILE + c] = w6 * d2 + a6 * other + (n6 + m6) * v
        out[7 * TILE + c] = w7 * d2 + a7 * other + (n7 + m7) * v
        out[8 * TILE + c] = w8 * d2 + a8 * other + (n8 + m8) * v
        out[9 * TILE + c] = w9 * d3 + a9 * other + (k9 + r9) * v
        out[10 * TILE + c] = w10 * d3 + a10 * other + (k10 + r10) * v
        out[11 * TILE + c] = w11 * d3 + a11 * other + (k11 + r11) * v
        out[12 * TILE + c] = w12 * d3 + a12 * other + (k12 + r12) * v
        out[13 * TILE + c] = w13 * d3 + a13 * other + (k13 + r13) * v
        out[14 * TILE + c] = w14 * d3 + a14 * other + (k14 + r14) * v
        out[15 * TILE + c] = w15 * d3 + a15 * other + (k15 + r15) * v


@njit(**OPTIONS)
def invariant_curvature(mixed, upstream, direction, out, along):
    """Differentiate `invariant_slopes` along a direction, and the invariants as well.

    Args:
        mixed, direction: (16, n, m * c) mixed atomic basis and a direction.
        upstream: (m, n, 6, c) derivatives with respect to the invariants.
        out: (16, n, m * c) change of the slopes along the direction; overwritten.
        along: (m, n, 6, c) change of the invariants along the direction; overwritten.
    """
    members, n, _, channels = upstream.shape
    together = max(1, TILE // channels)
    a, w, made = np.zeros(16 * TILE, np.float32), np.zeros(16 * TILE, np.float32), np.zeros(16 * TILE, np.float32)
    up, changes = np.zeros(KINDS * TILE, np.float32), np.zeros(KINDS * TILE, np.float32)
    for i in range(n):
        for first in range(0, members, together):
            some = min(together, members - first)
            count = some * channels
            for lm in range(16):
                _copy(mixed[lm, i, first * channels :], a[lm * TILE :], count)
                _copy(direction[lm, i, first * channels :], w[lm * TILE :], count)
            for kind in range(KINDS):
                for m in range(some):
                    _copy(upstream[first + m, i, kind], up[kind * TILE + m * channels :], channels)
            _curvature_of_tile(a, up, w, made, changes, count)
            for lm in range(16):
                _copy(made[lm * TILE :], out[lm, i, first * channels :], count)
            for kind in range(KINDS):
                for m in range(some):
                    _copy(changes[kind * TILE + m * channels :], along[first + m, i, kind], channels)
