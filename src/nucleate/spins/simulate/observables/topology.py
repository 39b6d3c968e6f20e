"""Skyrmion number of planes of spins.

    Q = (1 / 4 pi) sum over triangles of the solid angle of (e_1, e_2, e_3),
    tan(Omega / 2) = e_1 . (e_2 x e_3) / (1 + e_1 . e_2 + e_2 . e_3 + e_3 . e_1)

B. Berg, M. Lüscher, Nucl. Phys. B 190, 412 (1981), doi 10.1016/0550-3213(81)90568-X. Q is an integer in a periodic plane.
"""

from __future__ import annotations

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.simulate.lattice import SpinLattice


def solid_angles(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return the signed solid angles (...) of triples of unit vectors (..., 3), in [-2 pi, 2 pi]."""
    volume = np.einsum("...i,...i->...", a, np.cross(b, c))
    rest = 1 + (a * b).sum(-1) + (b * c).sum(-1) + (c * a).sum(-1)
    return 2 * np.arctan2(volume, rest)


def skyrmion_number(lattice: SpinLattice, spins: np.ndarray) -> np.ndarray:
    """Return the topological charge (sites per cell, n_c) of each plane spanned by the first two lattice vectors.

    The plane is oriented from the first to the second vector.

    Raises:
        BadInput: A plane has fewer than two cells along a vector.
    """
    if min(lattice.size[:2]) < 2:
        raise BadInput("skyrmion number: the lattice needs at least two cells along the first two vectors")
    planes = spins.reshape(*lattice.size, len(lattice.couplings.positions), 3)
    right, up = np.roll(planes, -1, axis=0), np.roll(planes, -1, axis=1)
    both = np.roll(right, -1, axis=1)
    angles = np.stack([solid_angles(planes, right, both), solid_angles(planes, both, up)])
    # Triangles do not cross open boundaries.
    keep_a = slice(None) if lattice.periodic[0] else slice(0, -1)
    keep_b = slice(None) if lattice.periodic[1] else slice(0, -1)
    return angles[:, keep_a, keep_b].sum(axis=(0, 1, 2)).T / (4 * np.pi)
