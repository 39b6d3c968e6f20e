"""Frames in which an ordered state has the same directions in every cell: a rotating frame, or a magnetic supercell.

In the rotating frame of wave vector Q and axis c, the directions of the cell R are those of the first cell turned by 2 pi Q . R about c.
Pairs then have the tensors J_ab(R) Rot(2 pi Q . R), which depend on R alone if the Hamiltonian commutes with these rotations (S. Toth,
B. Lake, J. Phys.: Condens. Matter 27, 166002 (2015), doi 10.1088/0953-8984/27/16/166002).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from nucleate.spins.couplings import Couplings

COMMUTES = 1e-6
"""Change of a tensor under the rotation that is ignored, relative to the largest coupling."""
LONGEST = 8
"""Maximum number of cells of a magnetic supercell along a lattice vector."""
MOST_SPINS = 256
"""Maximum number of spins in a magnetic supercell."""
RATIONAL = 1e-4
"""Largest deviation of a wave vector from a fraction at which it is commensurate."""


@dataclass(frozen=True)
class Frame:
    """Couplings between the directions of a frame.

    Attributes:
        couplings: Couplings in the frame, which depend on the difference of cells alone.
        wave_vector: (3,) wave vector of the rotation in units of reciprocal vectors of the crystal; zero without a rotation.
        axis: (3,) axis of the rotation; None without a rotation.
        size: Number of cells of the crystal along each vector of the frame's cell.
    """

    couplings: Couplings
    wave_vector: np.ndarray
    axis: np.ndarray | None = None
    size: tuple[int, int, int] = (1, 1, 1)

    @property
    def cells(self) -> int:
        """Number of cells of the crystal in a cell of the frame."""
        return int(np.prod(self.size))


def rotations(couplings: Couplings, wave_vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the rotation (p, 3, 3) of the second site's cell of each pair."""
    return Rotation.from_rotvec(2 * np.pi * (couplings.shifts @ wave_vector)[:, None] * axis).as_matrix()


def rotating(couplings: Couplings, wave_vector: np.ndarray, axis: np.ndarray) -> Frame:
    """Return the frame that rotates about the unit vector `axis` (3,)."""
    tensors = couplings.tensors @ rotations(couplings, wave_vector, axis)
    return Frame(replace(couplings, tensors=tensors), np.asarray(wave_vector, dtype=float), np.asarray(axis, dtype=float))


def half_turns(wave_vector: np.ndarray) -> bool:
    """Return whether the rotation between any two cells is by 0 or pi."""
    return bool(np.abs(2 * wave_vector - np.round(2 * wave_vector)).max() < RATIONAL)


def obstacle(couplings: Couplings, field: np.ndarray, wave_vector: np.ndarray, axis: np.ndarray) -> str | None:
    """Return the term of the Hamiltonian that does not commute with the rotations of the frame, or None.

    A wave vector that is half a reciprocal vector needs the rotation by pi alone.
    """
    angle = np.pi if half_turns(wave_vector) else 1.0
    turn = Rotation.from_rotvec(angle * np.asarray(axis)).as_matrix()
    largest = np.abs(couplings.tensors).max(initial=0)
    if np.abs(turn @ couplings.tensors @ turn.T - couplings.tensors).max(initial=0) > COMMUTES * largest:
        return "the anisotropic couplings"
    if np.abs(turn @ couplings.anisotropy @ turn.T - couplings.anisotropy).max() > COMMUTES * largest:
        return "the on-site anisotropy"
    if np.abs(turn @ field - field).max() > COMMUTES * np.abs(field).max():
        return "the field"
    return None


def supercell_size(wave_vector: np.ndarray, sites: int) -> tuple[int, int, int] | None:
    """Return the smallest number of cells along each vector that repeats the wave, or None if it exceeds the limits."""
    size = []
    for q in wave_vector:
        fits = [n for n in range(1, LONGEST + 1) if abs(n * q - round(n * q)) < n * RATIONAL]
        if not fits:
            return None
        size.append(fits[0])
    return (size[0], size[1], size[2]) if np.prod(size) * sites <= MOST_SPINS else None


def cells_of(size: tuple[int, int, int]) -> np.ndarray:
    """Return the indices (N, 3) of the cells in a supercell, the last one fastest."""
    return np.stack(np.meshgrid(*(np.arange(k) for k in size), indexing="ij"), -1).reshape(-1, 3)


def supercell(couplings: Couplings, size: tuple[int, int, int]) -> Frame:
    """Return the frame of a supercell, whose sites are ordered by cell as in `cells_of`."""
    cells, n = cells_of(size), len(couplings.positions)
    target = cells[:, None, :] + couplings.shifts[None]
    shifts = np.floor_divide(target, size)
    inside = np.ravel_multi_index(tuple(np.moveaxis(target - shifts * np.array(size), -1, 0)), size)
    count = len(cells)
    larger = Couplings(
        couplings.cell * np.array(size)[:, None],
        (cells[:, None, :] @ couplings.cell + couplings.positions).reshape(-1, 3),
        couplings.symbols * count,
        np.tile(couplings.moments, count),
        (np.arange(count)[:, None] * n + couplings.first).ravel(),
        (inside * n + couplings.second).ravel(),
        shifts.reshape(-1, 3),
        np.tile(couplings.tensors, (count, 1, 1)),
        np.tile(couplings.anisotropy, (count, 1, 1)),
    )
    return Frame(larger, np.zeros(3), None, size)
