"""Keywords of GPAW's calculator that several calculations share."""

from __future__ import annotations

from typing import Any

SYMMETRY_TOLERANCE = 1e-4
"""Tolerance of symmetry operations in Å. Symmetrised crystals are exact to some 1e-6 Å; at GPAW's default of 1e-7 their operations need
not form a group."""


def monkhorst_pack(size: tuple[int, int, int], shift: tuple[float, float, float]) -> dict[str, Any]:
    """Return the keyword `kpts` for a regular grid.

    Args:
        size: Number of k-points along each reciprocal lattice vector.
        shift: Shift of the grid along each vector; without any the grid contains the Gamma point.
    """
    # gamma=False would shift the odd axes as well; without the keyword the grid is that of Monkhorst and Pack.
    return {"size": size} if any(shift) else {"size": size, "gamma": True}
