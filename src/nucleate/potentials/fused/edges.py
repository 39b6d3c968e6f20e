"""Atomic basis from the edges of a neighbour list, as numba kernels.

The formulas are those of `potentials.basis`. Edges beyond the cutoff, which a list with a skin contains, are left out first. Loops over
edges are vectorised for the radial functions, and over the 16 harmonics for the sums.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.potentials.fused.options import INLINE, OPTIONS, single

SHORTEST = 1e-3
"""Smallest distance of an edge, Å, as in the evaluation without kernels."""

_ONE, _TWO, _THREE, _FIVE, _SIX = (single(n) for n in (1, 2, 3, 5, 6))
_HALF = single(0.5)
# Polynomials of sin(pi t)/t and cos(pi t) in t^2, for |t| <= 1/2: Taylor series to single precision.
_S0, _S1, _S2, _S3, _S4, _S5 = (single((-1) ** n * math.pi ** (2 * n + 1) / math.factorial(2 * n + 1)) for n in range(6))
_C1, _C2, _C3, _C4, _C5, _C6 = (single((-1) ** n * math.pi ** (2 * n) / math.factorial(2 * n)) for n in range(1, 7))
_SMALLEST_SHRINK = single(1e-6)

_N = [
    math.sqrt(1 / (4 * math.pi)),
    *[math.sqrt(3 / (4 * math.pi))] * 3,
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(5 / (16 * math.pi)),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(15 / (16 * math.pi)),
    math.sqrt(35 / (32 * math.pi)),
    math.sqrt(105 / (4 * math.pi)),
    math.sqrt(21 / (32 * math.pi)),
    math.sqrt(7 / (16 * math.pi)),
    math.sqrt(21 / (32 * math.pi)),
    math.sqrt(105 / (16 * math.pi)),
    math.sqrt(35 / (32 * math.pi)),
]
NORMS = np.array(_N, dtype=np.float32)
"""(16,) factors of the polynomials in `harmonics`, which are applied to the sums over edges instead of to every edge."""


@njit(**OPTIONS)
def row_starts(centre, n_atoms):
    """Return the (n_atoms + 1,) first edge of each atom, for edges ascending in their centre."""
    starts = np.zeros(n_atoms + 1, np.int64)
    for e in range(len(centre)):
        starts[centre[e] + 1] += 1
    for i in range(n_atoms):
        starts[i + 1] += starts[i]
    return starts


@njit(**OPTIONS)
def edges_within(atoms, starts, neighbour, shift, positions, cells, structure, cutoff, first, other, vectors, distance, number):
    """Collect the edges of some atoms that are within the cutoff.

    Args:
        atoms: (n,) indices of the atoms.
        starts: see `row_starts`.
        neighbour, shift: (n_edges,) and (n_edges, 3) of the neighbour list.
        positions, cells, structure: tensors of the batch in double precision.
        cutoff: cutoff radius, Å.
        first: (n + 1,) first collected edge of each atom; overwritten.
        other: (most + 1,) neighbours of the collected edges; overwritten.
        vectors: (3, most + 1) unit vectors; overwritten.
        distance: (most + 1,) distances, Å; overwritten.
        number: (most + 1,) place of the collected edges in the neighbour list; overwritten.

    Returns:
        The number of collected edges.
    """
    kept = 0
    most = cutoff * cutoff
    for row in range(len(atoms)):
        first[row] = kept
        i = atoms[row]
        k = structure[i]
        px, py, pz = positions[i, 0], positions[i, 1], positions[i, 2]
        xx, xy, xz = cells[k, 0, 0], cells[k, 0, 1], cells[k, 0, 2]
        yx, yy, yz = cells[k, 1, 0], cells[k, 1, 1], cells[k, 1, 2]
        zx, zy, zz = cells[k, 2, 0], cells[k, 2, 1], cells[k, 2, 2]
        for e in range(starts[i], starts[i + 1]):
            j = neighbour[e]
            a, b, c = shift[e, 0], shift[e, 1], shift[e, 2]
            x = positions[j, 0] - px + a * xx + b * yx + c * zx
            y = positions[j, 1] - py + a * xy + b * yy + c * zy
            z = positions[j, 2] - pz + a * xz + b * yz + c * zz
            square = x * x + y * y + z * z
            # Every edge is written, and an edge beyond the cutoff is overwritten by the next one, which avoids a branch.
            r = max(math.sqrt(square), SHORTEST)
            other[kept] = j
            number[kept] = e
            vectors[0, kept] = x / r
            vectors[1, kept] = y / r
            vectors[2, kept] = z / r
            distance[kept] = r
            # A distance that is not a number is kept, so that the energy is not a number either.
            kept += 0 if square >= most else 1
    first[len(atoms)] = kept
    return kept


@njit(**OPTIONS)
def radial_values(distance, count, cutoff, value):
    """Evaluate the radial functions of `count` edges: value (k, most + 1) is overwritten."""
    n_radial = value.shape[0]
    double = np.empty(count, np.float32)
    norm = single(math.sqrt(2 / cutoff))
    over = single(1 / cutoff)
    row = value[0]
    for e in range(count):
        r = distance[e]
        x = r * over
        t = x - _HALF
        u = t * t
        sine = _ONE + u * (_C1 + u * (_C2 + u * (_C3 + u * (_C4 + u * (_C5 + u * _C6)))))
        cosine = -t * (_S0 + u * (_S1 + u * (_S2 + u * (_S3 + u * (_S4 + u * _S5)))))
        shrink = max(_ONE - x * x, _SMALLEST_SHRINK)
        double[e] = _TWO * cosine
        row[e] = norm * shrink * shrink * shrink / r * sine
    for k in range(1, n_radial):
        _next(double, value[k - 1], value[max(k - 2, 0)], value[k], count, k > 1)


@njit(**OPTIONS)
def _next(double, last, before, out, count, three):
    """Chebyshev's recurrence for sin(k t); sin(0 t) is zero."""
    if three:
        for e in range(count):
            out[e] = double[e] * last[e] - before[e]
    else:
        for e in range(count):
            out[e] = double[e] * last[e]


@njit(**OPTIONS)
def radial_slopes(distance, count, cutoff, value, slope):
    """Evaluate the derivatives of the radial functions from their values: slope (k, most + 1) is overwritten."""
    n_radial = value.shape[0]
    double = np.empty(count, np.float32)
    ratio = np.empty(count, np.float32)
    size = np.empty(count, np.float32)
    norm = single(math.sqrt(2 / cutoff))
    over = single(1 / cutoff)
    for e in range(count):
        r = distance[e]
        x = r * over
        t = x - _HALF
        u = t * t
        cosine = -t * (_S0 + u * (_S1 + u * (_S2 + u * (_S3 + u * (_S4 + u * _S5)))))
        shrink = max(_ONE - x * x, _SMALLEST_SHRINK)
        double[e] = _TWO * cosine
        size[e] = norm * shrink * shrink * shrink / r
        slope[0, e] = size[e] * cosine
        # Logarithmic derivative of the envelope over r.
        ratio[e] = -_SIX * x * over / shrink - _ONE / r
    # First the recurrence of cos(k t), which begins with cos(0 t) = 1, then the product rule.
    for k in range(1, n_radial):
        _next(double, slope[k - 1], size if k == 1 else slope[k - 2], slope[k], count, True)
    for k in range(n_radial):
        _product_rule(slope[k], value[k], ratio, single((k + 1) * math.pi / cutoff), count)


@njit(**OPTIONS)
def _product_rule(slope, value, ratio, frequency, count):
    for e in range(count):
        slope[e] = frequency * slope[e] + ratio[e] * value[e]


@njit(**INLINE)
def harmonics(x, y, z):
    """Return the polynomials of degree 2 and 3 in a unit vector, without factors and in the order of `basis.harmonics`."""
    xx, yy, zz = x * x, y * y, z * z
    five = _FIVE * zz - _ONE
    return (
        x * y, y * z, _THREE * zz - _ONE, x * z, xx - yy,
        y * (_THREE * xx - yy), x * y * z, y * five, z * (five - _TWO), x * five, z * (xx - yy), x * (xx - _THREE * yy),
    )  # fmt: skip


@njit(**OPTIONS)
def atomic_basis(first, other, kind, vectors, value, norms, out):
    """Sum radial functions times harmonics over the edges of each atom.

    Args:
        first, other, vectors, value: edges and radial functions of n atoms.
        kind: (n_atoms,) index of the species of every atom of the batch.
        norms: `NORMS`.
        out: (16, n, s, k) atomic basis; overwritten.
    """
    _, n, species, n_radial = out.shape
    total = np.empty((species, n_radial, 16), np.float32)
    for row in range(n):
        total[:] = 0
        for e in range(first[row], first[row + 1]):
            x, y, z = vectors[0, e], vectors[1, e], vectors[2, e]
            h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15 = harmonics(x, y, z)
            own = total[kind[other[e]]]
            for k in range(n_radial):
                v = value[k, e]
                own[k, 0] += v
                own[k, 1] += v * y
                own[k, 2] += v * z
                own[k, 3] += v * x
                own[k, 4] += v * h4
                own[k, 5] += v * h5
                own[k, 6] += v * h6
                own[k, 7] += v * h7
                own[k, 8] += v * h8
                own[k, 9] += v * h9
                own[k, 10] += v * h10
                own[k, 11] += v * h11
                own[k, 12] += v * h12
                own[k, 13] += v * h13
                own[k, 14] += v * h14
                own[k, 15] += v * h15
        for lm in range(16):
            for s in range(species):
                for k in range(n_radial):
                    out[lm, row, s, k] = norms[lm] * total[s, k, lm]
