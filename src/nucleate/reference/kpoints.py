"""k-point grids from a spacing, the same for every engine."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def k_grid(atoms: Atoms, spacing: float) -> tuple[int, int, int]:
    """Divisions n_i = max(1, ceil(|b_i| / spacing)), with |b_i| including 2 pi, 1/Å."""
    lengths = 2 * np.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    first, second, third = (max(1, int(np.ceil(length / spacing - 1e-6))) for length in lengths)
    return first, second, third
