"""Normal modes of the undamped Landau-Lifshitz equation, linearised about directions that are the same in every cell.

With the local axes x_a, y_a, n_a of a site, e_a = n_a + u_a x_a + v_a y_a to first order, and the energy to second order is
w^+ M(q) w / 2 with w = (u_a, v_a) and
    M(q) = diag(n_a . h_a) - 2 K_a - J_ab(q)   (projected on the local axes),   h_a = sum_b J_ab(0) n_b + 2 K_a n_a + mu_B m_a B.
The equation of motion, with g = hbar gamma / mu_B, is
    hbar du_a/dt = -(g / m_a) dE/dv_a,   hbar dv_a/dt = (g / m_a) dE/du_a.
Scaling w by sqrt(m_a / g) gives hbar omega w = i W M w with i W Hermitian. If M is positive it is L L^+, and the energies are the positive
eigenvalues of L^+ (i W) L (J. H. P. Colpa, Physica A 93, 327 (1978), doi 10.1016/0378-4371(78)90160-7). These are the energies of linear
spin-wave theory for spins S = m / g.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.spins.couplings import Couplings
from nucleate.units import GYROMAGNETIC, HBAR, MU_B

G = HBAR * GYROMAGNETIC / MU_B
"""g factor of the dynamics: a spin S has the moment m = G S in Bohr magnetons."""
BATCH = 2**22
"""Maximum number of matrix entries diagonalised at once."""
ZERO = 1e-7
"""Curvature relative to the largest one within which a mode costs no energy."""


def local_axes(directions: np.ndarray) -> np.ndarray:
    """Return axes (n, 2, 3) that form a right-handed system with the unit vectors `directions` (n, 3)."""
    n = np.asarray(directions, dtype=float)
    helper = np.eye(3)[np.abs(n).argmin(axis=1)]
    x = np.cross(n, helper)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, np.cross(n, x)], axis=1)


def total_couplings(couplings: Couplings) -> np.ndarray:
    """Return the symmetric matrix A (3 n, 3 n) in meV of directions e repeated in every cell; their energy is -e . A . e / 2."""
    n = len(couplings.positions)
    first, second, _, tensors = couplings.both_ways()
    found = np.zeros((n, n, 3, 3))
    np.add.at(found, (first, second), tensors)
    found[np.arange(n), np.arange(n)] += 2 * couplings.anisotropy
    return found.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)


@dataclass(frozen=True)
class Modes:
    """Quadratic form of the energy of small deviations.

    Attributes:
        shifts: (s, 3) displacements of cells.
        blocks: (s, 2 n, 2 n) contribution of each displacement to M in meV; M(q) = sum blocks exp(2 pi i q . shift).
        weights: (2 n,) sqrt(g / m) of each coordinate.
    """

    shifts: np.ndarray
    blocks: np.ndarray
    weights: np.ndarray

    @classmethod
    def about(cls, couplings: Couplings, directions: np.ndarray, field: np.ndarray) -> Modes:
        """Expand the energy about unit vectors `directions` (n, 3) that are the same in every cell, in a field (3,) in tesla."""
        n = len(directions)
        axes = local_axes(directions)
        first, second, shifts, tensors = couplings.both_ways()
        every = np.concatenate([np.zeros((1, 3), dtype=np.int64), shifts])
        unique, place = np.unique(every, axis=0, return_inverse=True)
        place = place.ravel()
        blocks = np.zeros((len(unique), n, n, 2, 2))
        np.add.at(blocks, (place[1:], first, second), -axes[first] @ tensors @ axes[second].transpose(0, 2, 1))
        fields = (total_couplings(couplings) @ directions.ravel()).reshape(n, 3) + MU_B * couplings.moments[:, None] * field
        along = (fields * directions).sum(axis=1)
        own = along[:, None, None] * np.eye(2) - 2 * axes @ couplings.anisotropy @ axes.transpose(0, 2, 1)
        blocks[place[0], np.arange(n), np.arange(n)] += own
        square = blocks.transpose(0, 1, 3, 2, 4).reshape(len(unique), 2 * n, 2 * n)
        return cls(unique, square, np.repeat(np.sqrt(G / couplings.moments), 2))

    @property
    def size(self) -> int:
        """Dimension 2 n of the matrices."""
        return len(self.weights)

    @property
    def scale(self) -> float:
        """Largest curvature that the entries of the matrices allow, in meV."""
        return float(np.abs(self.blocks).sum(axis=(0, 2)).max())

    def matrices(self, q: np.ndarray) -> np.ndarray:
        """Return M(q) (m, 2 n, 2 n), Hermitian, in meV, for q (m, 3) in units of the reciprocal vectors of the frame."""
        phases = np.exp(2j * np.pi * (q @ self.shifts.T))
        return (phases @ self.blocks.reshape(len(self.blocks), -1)).reshape(-1, self.size, self.size)

    def _batches(self, q: np.ndarray) -> list[np.ndarray]:
        return np.array_split(q, max(1, -(-len(q) * max(self.size**2, len(self.shifts)) // BATCH)))

    def curvatures(self, q: np.ndarray) -> np.ndarray:
        """Return the eigenvalues (m, 2 n) of M(q) in meV, in increasing order; a negative one is an instability."""
        return np.concatenate([np.linalg.eigvalsh(self.matrices(part)) for part in self._batches(q)])

    def energies(self, q: np.ndarray) -> np.ndarray:
        """Return the energies (m, n) of the modes in meV, in increasing order; modes of no or negative curvature have energy zero."""
        return np.concatenate([self._energies(part) for part in self._batches(np.asarray(q, dtype=float))])

    def _energies(self, q: np.ndarray) -> np.ndarray:
        scaled = self.weights[:, None] * self.matrices(q) * self.weights
        try:
            root = np.linalg.cholesky(scaled)
        except np.linalg.LinAlgError:
            # Zero modes: the square root of a semi-definite matrix by its eigenvectors.
            values, vectors = np.linalg.eigh(scaled)
            root = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        # i W acts on pairs of rows (u, v) as (-i v, i u).
        turned = np.empty_like(root)
        turned[:, 0::2], turned[:, 1::2] = -1j * root[:, 1::2], 1j * root[:, 0::2]
        found = np.linalg.eigvalsh(root.conj().transpose(0, 2, 1) @ turned)
        return np.maximum(found[:, self.size // 2 :], 0)
