"""Atomic basis from the edges of a neighbour list, and its derivatives, as numba kernels.

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

_ONE, _TWO, _THREE, _FOUR, _FIVE, _SIX, _EIGHT = (single(n) for n in (1, 2, 3, 4, 5, 6, 8))
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
"""(16,) factors of the polynomials in `_harmonics`, which are applied to the sums over edges instead of to every edge."""


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
def _harmonics(x, y, z):
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
            h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15 = _harmonics(x, y, z)
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


@njit(**OPTIONS)
def forces_and_virial(atoms, first, other, kind, structure, vectors, distance, value, slope, norms, gradient, forces, virial):
    """Add the forces and strain derivatives of the edges of some atoms.

    Args:
        atoms, first, other, kind, vectors, distance, value, norms: as for the atomic basis.
        structure: (n_atoms,) structure of every atom.
        slope: (k, most + 1) derivatives of the radial functions.
        gradient: (16, n, s, k) derivatives of the energy with respect to the atomic basis, eV.
        forces: (n_atoms, 3), eV/Å; the forces are added.
        virial: (n_structures, 3, 3), eV; the strain derivatives are added.
    """
    _, n, species, n_radial = gradient.shape
    table = np.empty((species, n_radial, 16), np.float32)
    p, q = np.empty(16, np.float32), np.empty(16, np.float32)
    for row in range(n):
        for s in range(species):
            for k in range(n_radial):
                for lm in range(16):
                    table[s, k, lm] = norms[lm] * gradient[lm, row, s, k]
        fx = fy = fz = single(0)
        vxx = vxy = vxz = vyx = vyy = vyz = vzx = vzy = vzz = single(0)
        for e in range(first[row], first[row + 1]):
            own = table[kind[other[e]]]
            r = distance[e]
            p[:] = 0
            q[:] = 0
            for k in range(n_radial):
                v, w = value[k, e], slope[k, e]
                p[0] += v * own[k, 0]
                p[1] += v * own[k, 1]
                p[2] += v * own[k, 2]
                p[3] += v * own[k, 3]
                p[4] += v * own[k, 4]
                p[5] += v * own[k, 5]
                p[6] += v * own[k, 6]
                p[7] += v * own[k, 7]
                p[8] += v * own[k, 8]
                p[9] += v * own[k, 9]
                p[10] += v * own[k, 10]
                p[11] += v * own[k, 11]
                p[12] += v * own[k, 12]
                p[13] += v * own[k, 13]
                p[14] += v * own[k, 14]
                p[15] += v * own[k, 15]
                q[0] += w * own[k, 0]
                q[1] += w * own[k, 1]
                q[2] += w * own[k, 2]
                q[3] += w * own[k, 3]
                q[4] += w * own[k, 4]
                q[5] += w * own[k, 5]
                q[6] += w * own[k, 6]
                q[7] += w * own[k, 7]
                q[8] += w * own[k, 8]
                q[9] += w * own[k, 9]
                q[10] += w * own[k, 10]
                q[11] += w * own[k, 11]
                q[12] += w * own[k, 12]
                q[13] += w * own[k, 13]
                q[14] += w * own[k, 14]
                q[15] += w * own[k, 15]
            x, y, z = vectors[0, e], vectors[1, e], vectors[2, e]
            h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15 = _harmonics(x, y, z)
            xx, yy, zz = x * x, y * y, z * z
            over = _ONE / r
            # Along the edge: the slope of the radial functions, less what the gradients of the solid harmonics have along the edge.
            along = q[0] + q[1] * y + q[2] * z + q[3] * x
            along += q[4] * h4 + q[5] * h5 + q[6] * h6 + q[7] * h7 + q[8] * h8
            along += q[9] * h9 + q[10] * h10 + q[11] * h11 + q[12] * h12 + q[13] * h13 + q[14] * h14 + q[15] * h15
            one = p[1] * y + p[2] * z + p[3] * x
            two = p[4] * h4 + p[5] * h5 + p[6] * h6 + p[7] * h7 + p[8] * h8
            three = p[9] * h9 + p[10] * h10 + p[11] * h11 + p[12] * h12 + p[13] * h13 + p[14] * h14 + p[15] * h15
            along -= over * (one + _TWO * two + _THREE * three)
            # Gradients of the solid harmonics at the unit vector; those of degree 2 and 3 are homogeneous polynomials.
            gx = p[3] + p[4] * y - _TWO * p[6] * x + p[7] * z + _TWO * p[8] * x
            gy = p[1] + p[4] * x + p[5] * z - _TWO * p[6] * y - _TWO * p[8] * y
            gz = p[2] + p[5] * y + _FOUR * p[6] * z + p[7] * x
            gx += _SIX * p[9] * x * y + p[10] * y * z - _TWO * p[11] * x * y - _SIX * p[12] * x * z
            gx += p[13] * (_FOUR * zz - _THREE * xx - yy) + _TWO * p[14] * x * z + _THREE * p[15] * (xx - yy)
            gy += _THREE * p[9] * (xx - yy) + p[10] * x * z + p[11] * (_FOUR * zz - xx - _THREE * yy) - _SIX * p[12] * y * z
            gy += -_TWO * p[13] * x * y - _TWO * p[14] * y * z - _SIX * p[15] * x * y
            gz += p[10] * x * y + _EIGHT * p[11] * y * z + p[12] * (_SIX * zz - _THREE * xx - _THREE * yy)
            gz += _EIGHT * p[13] * x * z + p[14] * (xx - yy)
            gx = over * gx + along * x
            gy = over * gy + along * y
            gz = over * gz + along * z
            j = other[e]
            fx += gx
            fy += gy
            fz += gz
            forces[j, 0] -= gx
            forces[j, 1] -= gy
            forces[j, 2] -= gz
            x, y, z = x * r, y * r, z * r
            vxx += gx * x
            vxy += gx * y
            vxz += gx * z
            vyx += gy * x
            vyy += gy * y
            vyz += gy * z
            vzx += gz * x
            vzy += gz * y
            vzz += gz * z
        i = atoms[row]
        forces[i, 0] += fx
        forces[i, 1] += fy
        forces[i, 2] += fz
        own_virial = virial[structure[i]]
        own_virial[0, 0] += vxx
        own_virial[0, 1] += vxy
        own_virial[0, 2] += vxz
        own_virial[1, 0] += vyx
        own_virial[1, 1] += vyy
        own_virial[1, 2] += vyz
        own_virial[2, 0] += vzx
        own_virial[2, 1] += vzy
        own_virial[2, 2] += vzz
