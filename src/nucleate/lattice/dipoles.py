"""Interaction of parallel dipoles on the sites of a layer, summed over all distances.

Dipoles perpendicular to a plane repel one another as p_i p_j / (4 pi eps0 r^3). The sum over the lattice converges absolutely in two
dimensions. It is computed as by P. P. Ewald, Ann. Phys. 369, 253 (1921), doi 10.1002/andp.19213690304, for the power -3: the integral
representation of r^-3 is divided at eta^2, and the part of long range is summed over reciprocal vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import erfc, gammaincc

from nucleate.crystals.images import lattice_translations
from nucleate.errors import BadInput
from nucleate.lattice.parent import VACANCY, Parent
from nucleate.lattice.supercells import Supercell

PLANE = 1e-3
"""Largest difference of the heights of sites of one plane, Å."""
ACCURACY = 7.0
"""Terms beyond exp(-ACCURACY^2) of the two sums are left out."""


def inverse_cube_sums(vectors: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """Return the sums of 1/r^3 over a lattice around each displacement, without the term r = 0.

    Args:
        vectors: (2, 2) lattice vectors, rows, Å.
        displacements: (n, 2) displacements, Å.

    Returns:
        (n,) sums over lattice vectors R of 1/|d + R|^3, Å^-3; for a displacement of zero without R = 0. For a triangular lattice of
        constant 1 it is 11.0342, for a square one 9.0336 (J. Topping, Proc. R. Soc. A 114, 67 (1927)).
    """
    area = abs(np.linalg.det(vectors))
    eta = np.sqrt(np.pi / area)
    reach = ACCURACY / eta
    padded = np.zeros((3, 3))
    padded[:2, :2] = vectors
    padded[2, 2] = 10 * reach
    displacements = np.asarray(displacements, dtype=float)
    # Displacements are taken to the first cell, so that a sphere around the origin is sufficient.
    scaled = displacements @ np.linalg.inv(vectors)
    displacements = (scaled - np.rint(scaled)) @ vectors
    span = float(np.linalg.norm(vectors, axis=1).sum())
    cells = lattice_translations(padded, reach + span, low=0.0, high=0.0)
    shifts = np.unique(cells[:, :2], axis=0) @ vectors
    distance = np.linalg.norm(displacements[:, None] + shifts, axis=2)
    zero = distance < 1e-9
    safe = np.where(zero, 1.0, distance)
    # gammaincc is the upper incomplete gamma function divided by gamma(3/2).
    near = np.where(zero, 0.0, gammaincc(1.5, (eta * safe) ** 2) / safe**3).sum(axis=1)
    near -= zero.any(axis=1) * eta**3 * 4 / (3 * np.sqrt(np.pi))
    reciprocal = 2 * np.pi * np.linalg.inv(vectors).T
    padded[:2, :2] = reciprocal
    wide = 2 * eta * ACCURACY
    padded[2, 2] = 10 * wide
    waves = np.unique(lattice_translations(padded, wide, low=0.0, high=0.0)[:, :2], axis=0) @ reciprocal
    length = np.linalg.norm(waves, axis=1)
    weight = (
        2 * np.sqrt(np.pi) / area * (2 * eta * np.exp(-((length / (2 * eta)) ** 2)) - length * np.sqrt(np.pi) * erfc(length / (2 * eta)))
    )
    far = (np.cos(displacements @ waves.T) * weight).sum(axis=1)
    result: np.ndarray = near + far
    return result


@dataclass(frozen=True)
class DipoleTerm:
    """The sum over pairs of sites, q_i q_j / r_ij^3, of all pairs beyond a distance.

    Attributes:
        beyond: Distance in Å; pairs that are not longer are left out, because figures describe them.
        charges: Number q of each species, in the order of `Parent.names`; 0 for vacancies.
    """

    beyond: float
    charges: tuple[float, ...]

    def site_charges(self, supercell: Supercell, occupations: np.ndarray) -> np.ndarray:
        """Return the (n, sites) numbers q of arrangements."""
        parent = supercell.parent
        table = np.zeros((len(parent.active), max(len(names) for names in parent.allowed)))
        for s, names in enumerate(parent.allowed):
            for o, name in enumerate(names):
                table[s, o] = self.charges[parent.names.index(name)]
        result: np.ndarray = table[supercell.sublattice, occupations]
        return result

    def interactions(self, supercell: Supercell) -> np.ndarray:
        """Return the (m, sites) sums of 1/r^3 over the images of each site around the active sites of cell 0, Å^-3."""
        parent = supercell.parent
        check_plane(parent)
        flat = _in_plane(parent.cell)
        vectors = (supercell.cell @ flat)[parent.periodic]
        first = supercell.positions[: len(parent.active)] @ flat
        apart = (supercell.positions @ flat)[None] - first[:, None]
        sums = inverse_cube_sums(vectors, apart.reshape(-1, 2)).reshape(apart.shape[:2])
        padded = np.zeros((3, 3))
        padded[:2, :2] = vectors
        span = float(np.linalg.norm(vectors, axis=1).sum())
        padded[2, 2] = 10 * (self.beyond + span)
        # Close pairs are those of displacements in the first cell around the origin.
        scaled = apart @ np.linalg.inv(vectors)
        apart = (scaled - np.rint(scaled)) @ vectors
        shifts = np.unique(lattice_translations(padded, self.beyond + span, low=0.0, high=0.0)[:, :2], axis=0) @ vectors
        distance = np.linalg.norm(apart[:, :, None] + shifts, axis=3)
        close = (distance > 1e-9) & (distance <= self.beyond + 1e-4)
        result: np.ndarray = sums - np.where(close, 1 / np.where(close, distance, 1.0) ** 3, 0.0).sum(axis=2)
        return result

    def sums(self, supercell: Supercell, occupations: np.ndarray) -> np.ndarray:
        """Return the (n,) sums of arrangements per primitive cell, Å^-3; each pair counts once."""
        charges = self.site_charges(supercell, np.asarray(occupations))
        n, m = len(charges), len(supercell.parent.active)
        table = self.interactions(supercell).reshape(m, supercell.count, m)
        blocks = charges.reshape(n, supercell.count, m)
        # Cell c sees cell d as cell 0 sees d - c.
        total = np.zeros(n)
        for c, offset in enumerate(supercell.cells):
            seen = supercell.cell_index(supercell.cells - offset)
            total += np.einsum("ns,sdt,ndt->n", blocks[:, c], table[:, seen], blocks)
        result: np.ndarray = total / (2 * supercell.count)
        return result


def check_plane(parent: Parent) -> None:
    """Raise `BadInput` unless the parent is a layer whose active sites lie in one plane."""
    if parent.periodic.all():
        raise BadInput("the dipole term is defined for layers; the parent is periodic in three directions, so leave out --dipoles")
    heights = parent.scaled @ parent.cell @ _normal(parent.cell)
    if np.ptp(heights) > PLANE:
        raise BadInput(f"the dipole term is defined for sites in one plane; their heights differ by {np.ptp(heights):.2f} Å")


def _normal(cell: np.ndarray) -> np.ndarray:
    normal = np.cross(cell[0], cell[1])
    result: np.ndarray = normal / np.linalg.norm(normal)
    return result


def _in_plane(cell: np.ndarray) -> np.ndarray:
    """Return (3, 2) Cartesian axes of the plane of the first two vectors."""
    first = cell[0] / np.linalg.norm(cell[0])
    result: np.ndarray = np.stack([first, np.cross(_normal(cell), first)], axis=1)
    return result


def plain_charges(parent: Parent) -> tuple[float, ...]:
    """Return the number of dipoles of each species: one for atoms, none for vacancies."""
    return tuple(0.0 if name == VACANCY else 1.0 for name in parent.names)
