"""Forces and strain derivatives from the derivatives with respect to the atomic basis, and the transposed operation, as numba kernels.

An edge of centre i and neighbour j with the vector r = |r| u pulls with the force

    G = sum_{k,lm} g_{k,lm} [ R'_k Y_lm u + R_k/|r| (grad H_lm(u) - l Y_lm u) ],   g = dE/dA_i,

where H_lm are the solid harmonics; it is added to atom i and subtracted from atom j, and G x r is added to the strain derivative.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nucleate.potentials.fused.edges import harmonics
from nucleate.potentials.fused.options import INLINE, OPTIONS, single

_ONE, _TWO, _THREE, _FOUR, _SIX, _EIGHT = (single(n) for n in (1, 2, 3, 4, 6, 8))


@njit(**INLINE)
def _pull(p, q, x, y, z, over):
    """Return G from p = sum_k g_k R_k and q = sum_k g_k R'_k, both (16,), the unit vector and 1/|r|."""
    h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15 = harmonics(x, y, z)
    xx, yy, zz = x * x, y * y, z * z
    along = q[0] + q[1] * y + q[2] * z + q[3] * x
    along += q[4] * h4 + q[5] * h5 + q[6] * h6 + q[7] * h7 + q[8] * h8
    along += q[9] * h9 + q[10] * h10 + q[11] * h11 + q[12] * h12 + q[13] * h13 + q[14] * h14 + q[15] * h15
    one = p[1] * y + p[2] * z + p[3] * x
    two = p[4] * h4 + p[5] * h5 + p[6] * h6 + p[7] * h7 + p[8] * h8
    three = p[9] * h9 + p[10] * h10 + p[11] * h11 + p[12] * h12 + p[13] * h13 + p[14] * h14 + p[15] * h15
    along -= over * (one + _TWO * two + _THREE * three)
    gx = p[3] + p[4] * y - _TWO * p[6] * x + p[7] * z + _TWO * p[8] * x
    gy = p[1] + p[4] * x + p[5] * z - _TWO * p[6] * y - _TWO * p[8] * y
    gz = p[2] + p[5] * y + _FOUR * p[6] * z + p[7] * x
    gx += _SIX * p[9] * x * y + p[10] * y * z - _TWO * p[11] * x * y - _SIX * p[12] * x * z
    gx += p[13] * (_FOUR * zz - _THREE * xx - yy) + _TWO * p[14] * x * z + _THREE * p[15] * (xx - yy)
    gy += _THREE * p[9] * (xx - yy) + p[10] * x * z + p[11] * (_FOUR * zz - xx - _THREE * yy) - _SIX * p[12] * y * z
    gy += -_TWO * p[13] * x * y - _TWO * p[14] * y * z - _SIX * p[15] * x * y
    gz += p[10] * x * y + _EIGHT * p[11] * y * z + p[12] * (_SIX * zz - _THREE * xx - _THREE * yy)
    gz += _EIGHT * p[13] * x * z + p[14] * (xx - yy)
    return over * gx + along * x, over * gy + along * y, over * gz + along * z


@njit(**OPTIONS)
def add_forces(atoms, first, other, kind, structure, vectors, distance, value, slope, norms, gradient, forces, virial):
    """Add the forces and strain derivatives of the edges of some atoms.

    Args:
        atoms: (n,) indices of the atoms.
        first, other, vectors, distance: edges of these atoms, see `edges.edges_within`.
        kind, structure: (n_atoms,) index of the species and structure of every atom of the batch.
        value, slope: (k, most + 1) radial functions and their derivatives.
        norms: `edges.NORMS`.
        gradient: (m, 16, n, s, k) derivatives of the energies with respect to the atomic basis, eV.
        forces: (m, n_atoms, 3), eV/Å; the forces are added.
        virial: (m, n_structures, 3, 3), eV; the strain derivatives are added.
    """
    members, _, n, species, n_radial = gradient.shape
    table = np.empty((species, n_radial, 16), np.float32)
    p, q = np.empty(16, np.float32), np.empty(16, np.float32)
    for m in range(members):
        for row in range(n):
            for s in range(species):
                for k in range(n_radial):
                    for lm in range(16):
                        table[s, k, lm] = norms[lm] * gradient[m, lm, row, s, k]
            fx = fy = fz = single(0)
            vxx = vxy = vxz = vyx = vyy = vyz = vzx = vzy = vzz = single(0)
            for e in range(first[row], first[row + 1]):
                own = table[kind[other[e]]]
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
                x, y, z, r = vectors[0, e], vectors[1, e], vectors[2, e], distance[e]
                gx, gy, gz = _pull(p, q, x, y, z, _ONE / r)
                fx += gx
                fy += gy
                fz += gz
                j = other[e]
                forces[m, j, 0] -= gx
                forces[m, j, 1] -= gy
                forces[m, j, 2] -= gz
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
            forces[m, i, 0] += fx
            forces[m, i, 1] += fy
            forces[m, i, 2] += fz
            own_virial = virial[m, structure[i]]
            own_virial[0, 0] += vxx
            own_virial[0, 1] += vxy
            own_virial[0, 2] += vxz
            own_virial[1, 0] += vyx
            own_virial[1, 1] += vyy
            own_virial[1, 2] += vyz
            own_virial[2, 0] += vzx
            own_virial[2, 1] += vzy
            own_virial[2, 2] += vzz


@njit(**OPTIONS)
def transposed_forces(atoms, first, other, kind, structure, vectors, distance, value, slope, norms, forces, virial, gradient):
    """Convert derivatives with respect to the forces and strain derivatives to derivatives with respect to `gradient`.

    Args:
        atoms, first, other, kind, structure, vectors, distance, value, slope, norms: as for `add_forces`.
        forces, virial: derivatives with respect to them.
        gradient: (m, 16, n, s, k); overwritten.
    """
    members, _, n, species, n_radial = gradient.shape
    table = np.empty((species, n_radial, 16), np.float32)
    for m in range(members):
        for row in range(n):
            i = atoms[row]
            table[:] = 0
            push = virial[m, structure[i]]
            for e in range(first[row], first[row + 1]):
                j = other[e]
                own = table[kind[j]]
                x, y, z, r = vectors[0, e], vectors[1, e], vectors[2, e], distance[e]
                # The derivative with respect to G.
                dx = forces[m, i, 0] - forces[m, j, 0] + r * (push[0, 0] * x + push[0, 1] * y + push[0, 2] * z)
                dy = forces[m, i, 1] - forces[m, j, 1] + r * (push[1, 0] * x + push[1, 1] * y + push[1, 2] * z)
                dz = forces[m, i, 2] - forces[m, j, 2] + r * (push[2, 0] * x + push[2, 1] * y + push[2, 2] * z)
                h4, h5, h6, h7, h8, h9, h10, h11, h12, h13, h14, h15 = harmonics(x, y, z)
                xx, yy, zz = x * x, y * y, z * z
                over = _ONE / r
                a0 = dx * x + dy * y + dz * z
                a1, a2, a3 = a0 * y, a0 * z, a0 * x
                a4, a5, a6, a7, a8 = a0 * h4, a0 * h5, a0 * h6, a0 * h7, a0 * h8
                a9, a10, a11, a12, a13, a14, a15 = a0 * h9, a0 * h10, a0 * h11, a0 * h12, a0 * h13, a0 * h14, a0 * h15
                b0 = single(0)
                b1, b2, b3 = over * (dy - a1), over * (dz - a2), over * (dx - a3)
                b4 = over * (y * dx + x * dy - _TWO * a4)
                b5 = over * (z * dy + y * dz - _TWO * a5)
                b6 = over * (_FOUR * z * dz - _TWO * x * dx - _TWO * y * dy - _TWO * a6)
                b7 = over * (z * dx + x * dz - _TWO * a7)
                b8 = over * (_TWO * x * dx - _TWO * y * dy - _TWO * a8)
                b9 = over * (_SIX * x * y * dx + _THREE * (xx - yy) * dy - _THREE * a9)
                b10 = over * (y * z * dx + x * z * dy + x * y * dz - _THREE * a10)
                b11 = over * (_EIGHT * y * z * dz - _TWO * x * y * dx + (_FOUR * zz - xx - _THREE * yy) * dy - _THREE * a11)
                b12 = over * ((_SIX * zz - _THREE * xx - _THREE * yy) * dz - _SIX * x * z * dx - _SIX * y * z * dy - _THREE * a12)
                b13 = over * ((_FOUR * zz - _THREE * xx - yy) * dx - _TWO * x * y * dy + _EIGHT * x * z * dz - _THREE * a13)
                b14 = over * (_TWO * x * z * dx - _TWO * y * z * dy + (xx - yy) * dz - _THREE * a14)
                b15 = over * (_THREE * (xx - yy) * dx - _SIX * x * y * dy - _THREE * a15)
                for k in range(n_radial):
                    v, w = value[k, e], slope[k, e]
                    own[k, 0] += w * a0 + v * b0
                    own[k, 1] += w * a1 + v * b1
                    own[k, 2] += w * a2 + v * b2
                    own[k, 3] += w * a3 + v * b3
                    own[k, 4] += w * a4 + v * b4
                    own[k, 5] += w * a5 + v * b5
                    own[k, 6] += w * a6 + v * b6
                    own[k, 7] += w * a7 + v * b7
                    own[k, 8] += w * a8 + v * b8
                    own[k, 9] += w * a9 + v * b9
                    own[k, 10] += w * a10 + v * b10
                    own[k, 11] += w * a11 + v * b11
                    own[k, 12] += w * a12 + v * b12
                    own[k, 13] += w * a13 + v * b13
                    own[k, 14] += w * a14 + v * b14
                    own[k, 15] += w * a15 + v * b15
            for lm in range(16):
                for s in range(species):
                    for k in range(n_radial):
                        gradient[m, lm, row, s, k] = norms[lm] * table[s, k, lm]
