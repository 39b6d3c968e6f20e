"""How often molecular crystals have each space group."""

from __future__ import annotations

import sqlite3
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np


@lru_cache(maxsize=1)
def shares_in_nature() -> np.ndarray:
    """Return the (231,) shares of the space groups among organic crystals, by number; the first entry is zero.

    They are counted in the hundred experimental crystals of PyXtal's database `test.db` (Q. Zhu, github.com/MaterSim/PyXtal), 55 of which
    have P2_1/c. Groups that do not occur share the part that the number of groups with a single crystal suggests, after I. J. Good,
    Biometrika 40, 237 (1953), doi 10.1093/biomet/40.3-4.237, so that none is excluded.
    """
    import pyxtal

    file = Path(pyxtal.__file__).parent / "database" / "test.db"
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        numbers = [int(row[0]) for row in database.execute("SELECT value FROM number_key_values WHERE key = 'spg_num'")]
    counts = Counter(numbers)
    unseen = sum(1 for count in counts.values() if count == 1) / len(numbers)
    result = np.zeros(231)
    for number, count in counts.items():
        result[number] = (1 - unseen) * count / len(numbers)
    others = [number for number in range(1, 231) if number not in counts]
    result[others] = unseen / len(others)
    return result
