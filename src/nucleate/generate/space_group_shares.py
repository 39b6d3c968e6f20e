"""How often molecular crystals have each space group."""

from __future__ import annotations

import numpy as np

COUNTS = {
    14: 53, 61: 12, 4: 11, 2: 9, 15: 3, 29: 2, 33: 2, 9: 1, 13: 1, 18: 1, 19: 1, 31: 1, 64: 1, 113: 1, 161: 1,
}  # fmt: skip
"""Number of crystals of each space group, by its number, among the hundred experimental organic crystals in the database `test.db` of
PyXtal 1.1.5 (Q. Zhu, github.com/MaterSim/PyXtal)."""


def shares_in_nature() -> np.ndarray:
    """Return the (231,) shares of the space groups among organic crystals, by number; the first entry is zero.

    Groups that do not occur among `COUNTS` share the part that the number of groups with a single crystal suggests, after I. J. Good,
    Biometrika 40, 237 (1953), doi 10.1093/biomet/40.3-4.237, so that none is excluded.
    """
    total = sum(COUNTS.values())
    unseen = sum(1 for count in COUNTS.values() if count == 1) / total
    result = np.zeros(231)
    others = [number for number in range(1, 231) if number not in COUNTS]
    result[others] = unseen / len(others)
    for number, count in COUNTS.items():
        result[number] = (1 - unseen) * count / total
    return result
