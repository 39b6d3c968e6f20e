"""Dipole-dipole interaction of spins on a lattice by fast Fourier transforms.

    E = -mu_0 mu_B^2 / (4 pi) sum_<ij> m_i m_j [3 (e_i . r)(e_j . r) - e_i . e_j] / r^3

with r the direction of r_ij. Along periodic directions the interaction of two cells is the sum over their images: all whose centres are
within a radius, and for a film beyond it the integral over a continuous layer. Along open directions transforms are padded with zeros, so
that the sum is exact. J. D. Jackson, Classical Electrodynamics (Wiley, New York, 1999), section 5.7.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfftn, next_fast_len, rfftn

from nucleate.errors import BadInput
from nucleate.spins.simulate.lattice import SpinLattice

STRENGTH = 5.3681742e-2
"""mu_0 mu_B^2 / (4 pi) in meV Å^3 (CODATA 2022)."""
RADIUS = 8.0
"""Radius of the images that are summed, in units of the longest side of the supercell."""
MOST = 2**22
"""Largest number of tensors computed at once."""


@dataclass(frozen=True)
class Dipoles:
    """Dipole-dipole interaction on a lattice.

    Attributes:
        lattice: Supercell, periodic along at most two directions.
        shape: (3,) size of the transforms.
        kernel: (n, n, 3, 3, k...) transforms of the tensors in meV that act on unit vectors.
    """

    lattice: SpinLattice
    shape: tuple[int, int, int]
    kernel: np.ndarray

    @classmethod
    def build(cls, lattice: SpinLattice) -> Dipoles:
        """Tabulate the interaction of all pairs of cells.

        Raises:
            BadInput: The supercell is periodic along three directions, where the sum depends on the shape of the sample.
        """
        if all(lattice.periodic):
            raise BadInput("dipoles: a crystal that is periodic along three directions has no definite dipole energy; open one direction")
        size = np.array(lattice.size)
        a, b, c = (int(n) if p or n == 1 else next_fast_len(2 * int(n) - 1, real=True) for n, p in zip(size, lattice.periodic, strict=True))
        steps = [np.where(np.arange(n) < s, np.arange(n), np.arange(n) - n) for n, s in zip((a, b, c), size, strict=True)]
        cells = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
        # Padding between the displacements that occur is zero.
        occurs = (np.abs(cells) < size).all(axis=1)
        images, area, radius = _images(lattice)
        own, moments = lattice.couplings.positions, lattice.couplings.moments
        n = len(own)
        tensors = np.zeros((n, n, 3, 3, a * b * c))
        for i in range(n):
            for j in range(n):
                vectors = cells[occurs] @ lattice.couplings.cell + own[j] - own[i]
                found = _summed(vectors, images)
                if area is not None:
                    found += _beyond(lattice, area, radius)
                tensors[i, j][:, :, occurs] = STRENGTH * moments[i] * moments[j] * found.transpose(1, 2, 0)
        return cls(lattice, (a, b, c), rfftn(tensors.reshape(n, n, 3, 3, a, b, c), axes=(-3, -2, -1)))

    def fields(self, images: np.ndarray) -> np.ndarray:
        """Return the fields -dE/de (m, N, 3) in meV for states (m, N, 3)."""
        a, b, c = self.lattice.size
        count = len(images)
        turned = rfftn(images.reshape(count, a, b, c, -1, 3).transpose(0, 4, 5, 1, 2, 3), s=self.shape, axes=(-3, -2, -1))
        # The field at R is the sum over R' of T(R' - R) e(R').
        found = irfftn(np.einsum("ijxyabc,mjyabc->mixabc", self.kernel.conj(), turned), s=self.shape, axes=(-3, -2, -1))
        return found[..., :a, :b, :c].transpose(0, 3, 4, 5, 1, 2).reshape(count, -1, 3)


def _tensors(vectors: np.ndarray) -> np.ndarray:
    """Return (3 r r^T - 1) / r^3 (..., 3, 3) in 1/Å^3 for vectors (..., 3), zero for a zero vector."""
    r = np.linalg.norm(vectors, axis=-1)[..., None, None]
    near = np.where(r > 1e-9, r, np.inf)
    unit = vectors[..., None] / near
    return (3 * unit * unit.swapaxes(-1, -2) - np.eye(3)) / near**3


def _images(lattice: SpinLattice) -> tuple[np.ndarray, float | None, float]:
    """Return the translations (k, 3) of the images, the area of a supercell periodic in a plane, and the radius of the images in Å."""
    periodic = np.flatnonzero(lattice.periodic)
    sides = np.array(lattice.size)[:, None] * lattice.couplings.cell
    if not len(periodic):
        return np.zeros((1, 3)), None, 0.0
    radius = RADIUS * float(np.linalg.norm(sides[periodic], axis=1).max())
    reach = np.ceil(radius * np.linalg.norm(np.linalg.pinv(sides[periodic]), axis=0)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-k, k + 1) for k in reach), indexing="ij"), -1).reshape(-1, len(periodic))
    images = grid @ sides[periodic]
    images = images[np.linalg.norm(images, axis=1) <= radius]
    area = float(np.linalg.norm(np.cross(*sides[periodic]))) if len(periodic) == 2 else None
    return images, area, radius


def _summed(vectors: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the sums (m, 3, 3) over images of the tensors of vectors (m, 3)."""
    parts = np.array_split(vectors, max(1, -(-len(vectors) * len(images) // MOST)))
    return np.concatenate([_tensors(part[:, None] + images).sum(axis=1) for part in parts])


def _beyond(lattice: SpinLattice, area: float, radius: float) -> np.ndarray:
    """Return the integral (3, 3) of the tensors over a plane beyond a radius R, divided by the area A: pi / (R A) (1 - 3 n n)."""
    sides = lattice.couplings.cell[np.flatnonzero(lattice.periodic)]
    normal = np.cross(*sides)
    normal /= np.linalg.norm(normal)
    return np.pi / (radius * area) * (np.eye(3) - 3 * np.outer(normal, normal))
