"""Pairs of a small cell as a numba kernel, which takes a tenth of the time of a cell list there."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from nucleate.crystals.kernel_options import OPTIONS


@njit(**OPTIONS)
def find_pairs(positions, cell, inverse, cutoff, centre, neighbour, shift):
    """Find all directed pairs within the cutoff, ascending in the centre.

    Args:
        positions: (n, 3) Cartesian, Å; atoms may be outside the cell.
        cell, inverse: (3, 3) lattice vectors as rows and the inverse matrix.
        cutoff: cutoff radius, Å.
        centre, neighbour, shift: (most,), (most,) and (most, 3); overwritten as far as there is room.

    Returns:
        The number of pairs; if it exceeds `most`, the arrays are too short.
    """
    count, most = 0, len(centre)
    reach = np.empty(3)
    for axis in range(3):
        # Number of distances between lattice planes within the cutoff, with an allowance for rounding.
        reach[axis] = cutoff * math.sqrt(inverse[0, axis] ** 2 + inverse[1, axis] ** 2 + inverse[2, axis] ** 2) + 1e-9
    low, high = np.empty(3), np.empty(3)
    for i in range(len(positions)):
        for j in range(len(positions)):
            dx, dy, dz = positions[j, 0] - positions[i, 0], positions[j, 1] - positions[i, 1], positions[j, 2] - positions[i, 2]
            for axis in range(3):
                fraction = dx * inverse[0, axis] + dy * inverse[1, axis] + dz * inverse[2, axis]
                low[axis], high[axis] = math.ceil(-fraction - reach[axis]), math.floor(-fraction + reach[axis])
            for a in range(int(low[0]), int(high[0]) + 1):
                for b in range(int(low[1]), int(high[1]) + 1):
                    for c in range(int(low[2]), int(high[2]) + 1):
                        if i == j and a == 0 and b == 0 and c == 0:
                            continue
                        x = dx + a * cell[0, 0] + b * cell[1, 0] + c * cell[2, 0]
                        y = dy + a * cell[0, 1] + b * cell[1, 1] + c * cell[2, 1]
                        z = dz + a * cell[0, 2] + b * cell[1, 2] + c * cell[2, 2]
                        if x * x + y * y + z * z < cutoff * cutoff:
                            if count < most:
                                centre[count], neighbour[count] = i, j
                                shift[count, 0], shift[count, 1], shift[count, 2] = a, b, c
                            count += 1
    return count
