"""One step of L-BFGS for every structure of a batch, as a numba kernel; the formulas are those of `optimisers.Lbfgs`.

In torch a step consists of some 200 small operations, which for small batches take longer than the potential.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.crystals.kernel_options import OPTIONS


@njit(**OPTIONS)
def _dot(a, b, rows):
    total = 0.0
    for n in range(len(rows)):
        i = rows[n]
        total += a[i, 0] * b[i, 0] + a[i, 1] * b[i, 1] + a[i, 2] * b[i, 2]
    return total


@njit(**OPTIONS)
def _add(target, factor, a, rows):
    for n in range(len(rows)):
        i = rows[n]
        for axis in range(3):
            target[i, axis] += factor * a[i, axis]


@njit(**OPTIONS)
def lbfgs_step(x, f, last_x, last_f, s, y, rho, moved, counts, curvature, bounds, maxstep, new_s, new_y, new_rho, new_x):
    """Take one step.

    Args:
        x, f, last_x, last_f: (rows, 3) coordinates and their negative gradients, of now and of the last step.
        s, y, rho: (history, rows, 3) and (history, n): pairs of the previous steps.
        moved: (n,) number of steps taken.
        counts: (n,) number of atoms; the three rows of each cell follow those of all atoms.
        curvature: curvature of all directions that the pairs do not contain, eV/Å².
        bounds: (low, high): limits of y.y / s.y of the newest pair, which replaces `curvature`; low = 0: it never does.
        maxstep: largest displacement of a row, Å.
        new_s, new_y, new_rho: the pairs with that of this step; overwritten.
        new_x: (rows, 3) coordinates after the step; overwritten.
    """
    history, n = rho.shape
    atoms = len(x) - 3 * n
    new_s[: history - 1], new_y[: history - 1], new_rho[: history - 1] = s[1:], y[1:], rho[1:]
    z = np.empty_like(x)
    coefficients = np.empty(history)
    first = 0
    for k in range(n):
        rows = np.empty(counts[k] + 3, np.int64)
        for i in range(counts[k]):
            rows[i] = first + i
        for i in range(3):
            rows[counts[k] + i] = atoms + 3 * k + i
        first += counts[k]
        newest_s, newest_y = new_s[history - 1], new_y[history - 1]
        for r in rows:
            for axis in range(3):
                newest_s[r, axis] = x[r, axis] - last_x[r, axis]
                newest_y[r, axis] = last_f[r, axis] - f[r, axis]
                z[r, axis] = -f[r, axis]
        along = _dot(newest_s, newest_y, rows)
        scale = curvature
        if moved[k] > 0 and along > 1e-12:
            new_rho[history - 1, k] = 1 / along
            if bounds[0] > 0:
                scale = min(max(_dot(newest_y, newest_y, rows) / along, bounds[0]), bounds[1])
        else:
            new_rho[history - 1, k] = 0.0
            for r in rows:
                newest_s[r] = 0.0
                newest_y[r] = 0.0
        oldest = history - min(history, int(moved[k]))
        for h in range(history - 1, oldest - 1, -1):
            coefficients[h] = new_rho[h, k] * _dot(new_s[h], z, rows)
            _add(z, -coefficients[h], new_y[h], rows)
        for r in rows:
            for axis in range(3):
                z[r, axis] /= scale
        for h in range(oldest, history):
            _add(z, coefficients[h] - new_rho[h, k] * _dot(new_y[h], z, rows), new_s[h], rows)
        # The step is -z.
        if not _dot(z, f, rows) < 0:
            for r in rows:
                for axis in range(3):
                    z[r, axis] = -f[r, axis] / curvature
        longest = 0.0
        for r in rows:
            longest = max(longest, z[r, 0] ** 2 + z[r, 1] ** 2 + z[r, 2] ** 2)
        shorter = min(1.0, maxstep / max(math.sqrt(longest), 1e-300))
        for r in rows:
            for axis in range(3):
                new_x[r, axis] = x[r, axis] - shorter * z[r, axis]
