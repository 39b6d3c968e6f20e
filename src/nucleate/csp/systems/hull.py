"""Convex hull of energies over compositions.

Phases on the lower convex hull of the energy per atom are stable against decomposition into others. Above it, the height is the energy that
the decomposition releases: S. P. Ong et al., Chem. Mater. 20, 1798 (2008), doi 10.1021/cm702327g. The lower hull is a convex function of
the composition, and therefore the largest of the linear functions of its facets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import ConvexHull

CORNER = 1e-9
"""Largest deviation of a fraction from 1 at an end member."""
ON_HULL = 1e-9
"""Largest height above the hull of a phase on it, eV/atom."""


class Hull:
    """Lower convex hull of phases.

    Args:
        fractions: (n, K) fractions of atoms from each of the K end members, as from `ChemicalSystem.fractions`.
        energies: (n,) energies, eV/atom.

    Attributes:
        ends: (K,) lowest energy of each end member, eV/atom.
        vertices: indices of the phases on the hull, in the order of the input.
        facets: indices of the K phases of each facet.

    Raises:
        ValueError: an end member has no phase.
    """

    def __init__(self, fractions: np.ndarray, energies: Sequence[float] | np.ndarray):
        self.fractions, energies = np.asarray(fractions, dtype=float), np.asarray(energies, dtype=float)
        k = self.fractions.shape[1]
        corners = []
        for member in range(k):
            pure = np.flatnonzero(self.fractions[:, member] > 1 - CORNER)
            if not len(pure):
                raise ValueError(f"end member {member} has no phase")
            corners.append(int(pure[np.argmin(energies[pure])]))
        self.ends = energies[corners]
        formation = energies - self.fractions @ self.ends
        below = [int(n) for n in np.flatnonzero(formation < -ON_HULL)]
        # The phases above all end members are not on the hull; with one point above it, the hull has a volume also without compounds.
        used = [*corners, *below]
        points = np.column_stack([self.fractions[used, 1:], formation[used]])
        top = np.append(np.full(k - 1, 1.0 / k), 1.0)
        depth = max(1e-3, -float(formation[used].min()))
        scaled = np.vstack([points, top]) / np.append(np.ones(k - 1), depth)
        hull = ConvexHull(scaled)
        equations = hull.equations
        lower = [n for n in range(len(equations)) if equations[n, -2] < -1e-10 and len(used) not in hull.simplices[n]]
        # Each facet is the plane energy = slopes . fractions[1:] + offset.
        self._slopes = -equations[lower, :-2] / equations[lower, -2:-1] * depth
        self._offsets = -equations[lower, -1] / equations[lower, -2] * depth
        self.facets = [[used[m] for m in hull.simplices[n]] for n in lower]
        self.vertices = sorted({n for facet in self.facets for n in facet})

    def formation(self, fractions: np.ndarray, energies: np.ndarray) -> np.ndarray:
        """Return the (m,) energies of formation from the end members, eV/atom."""
        return np.asarray(energies) - np.asarray(fractions) @ self.ends

    def energy(self, fractions: np.ndarray) -> np.ndarray:
        """Return the (m,) energies of the hull at compositions with (m, K) `fractions`, eV/atom."""
        planes = np.asarray(fractions)[:, 1:] @ self._slopes.T + self._offsets
        result: np.ndarray = planes.max(axis=1) + np.asarray(fractions) @ self.ends
        return result

    def above(self, fractions: np.ndarray, energies: np.ndarray) -> np.ndarray:
        """Return the (m,) heights of phases above the hull, eV/atom; negative below it."""
        return np.asarray(energies) - self.energy(fractions)

    def decomposition(self, fractions: np.ndarray) -> list[tuple[int, float]]:
        """Return the phases of the hull into which a composition decomposes, and the fraction of the atoms in each.

        Args:
            fractions: (K,) composition.
        """
        planes = self._slopes @ np.asarray(fractions)[1:] + self._offsets
        # Facets that are coplanar have the same energy up to rounding; the composition lies inside one of them.
        best = None
        for place in np.flatnonzero(planes > planes.max() - ON_HULL):
            facet = self.facets[int(place)]
            shares = np.linalg.lstsq(self.fractions[facet].T, np.asarray(fractions), rcond=None)[0]
            if best is None or shares.min() > best[1].min():
                best = (facet, shares)
        assert best is not None
        return [(n, float(share)) for n, share in zip(*best, strict=True) if share > 1e-6]
