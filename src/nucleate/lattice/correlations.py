"""Correlations: how many figures of each class an arrangement contains, per primitive cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleate.lattice.dipoles import DipoleTerm
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.figures import Orbit
from nucleate.lattice.supercells import Supercell

MOST_PRODUCTS = 20_000_000
"""Number of products of occupations that are in memory at a time."""


def correlations(supercell: Supercell, occupations: np.ndarray, orbits: Sequence[Orbit]) -> np.ndarray:
    """Count the figures of arrangements of one supercell.

    Args:
        supercell: The supercell.
        occupations: (n, sites) indices of species.
        orbits: Classes of figures.

    Returns:
        (n, orbits) sums of the products of occupations over the figures of each class, per primitive cell.
    """
    occupations = np.asarray(occupations)
    result = np.empty((len(occupations), len(orbits)))
    for column, orbit in enumerate(orbits):
        if orbit.points == 0:
            result[:, column] = 1.0
            continue
        cells, sites, species = orbit.arrays()
        total = np.zeros(len(occupations))
        for c, s, f in zip(cells, sites, species, strict=True):
            index = supercell.site_index(supercell.cells[:, None] + c, s)
            rows = max(1, MOST_PRODUCTS // index.size)
            for start in range(0, len(occupations), rows):
                part = occupations[start : start + rows]
                total[start : start + rows] += (part[:, index] == f).all(axis=2).sum(axis=1)
        result[:, column] = total / supercell.count
    return result


def design_matrix(arrangements: Sequence[Arrangement], orbits: Sequence[Orbit], dipoles: DipoleTerm | None = None) -> np.ndarray:
    """Return the (n, parameters) matrix of a fit: one column for each class of figures, and a last one for the dipole term.

    Args:
        arrangements: Arrangements of any supercells of one parent.
        orbits: Classes of figures.
        dipoles: The long-range term, or None.
    """
    result = np.empty((len(arrangements), len(orbits) + (dipoles is not None)))
    groups: dict[bytes, list[int]] = {}
    for k, arrangement in enumerate(arrangements):
        groups.setdefault(arrangement.supercell.matrix.tobytes(), []).append(k)
    for members in groups.values():
        supercell = arrangements[members[0]].supercell
        occupations = np.array([arrangements[k].occupation for k in members])
        result[members, : len(orbits)] = correlations(supercell, occupations, orbits)
        if dipoles is not None:
            result[members, -1] = dipoles.sums(supercell, occupations)
    return result
