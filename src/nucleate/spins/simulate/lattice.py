"""Supercell of a spin Hamiltonian as flat arrays for the numba kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings
from nucleate.units import MU_B


@dataclass(frozen=True)
class SpinLattice:
    """Supercell of N = n_a n_b n_c n spins, ordered by cell with c fastest, then by site within the cell.

    Attributes:
        couplings: Couplings of one cell.
        size: Number of cells along each vector.
        periodic: Periodicity along each vector; pairs across open boundaries are dropped.
        start: (N + 1,) offset of each spin's neighbours in `neighbours`.
        neighbours: (q,) neighbour indices; each pair is listed twice.
        strengths: (q,) isotropic couplings in meV, used by the kernels if `scalar`.
        tensors: (q, 3, 3) coupling tensors in meV; empty if `scalar`.
        onsite: (N, 3, 3) on-site tensors in meV: anisotropy and couplings of a spin with its own image.
        moments: (N,) moments in Bohr magnetons.
        zeeman: (N, 3) Zeeman fields mu_B m B in meV.
    """

    couplings: Couplings
    size: tuple[int, int, int]
    periodic: tuple[bool, bool, bool]
    start: np.ndarray
    neighbours: np.ndarray
    strengths: np.ndarray
    tensors: np.ndarray
    onsite: np.ndarray
    moments: np.ndarray
    zeeman: np.ndarray

    @classmethod
    def build(
        cls,
        couplings: Couplings,
        size: tuple[int, int, int],
        field: tuple[float, float, float] = (0.0, 0.0, 0.0),
        periodic: tuple[bool, bool, bool] = (True, True, True),
    ) -> SpinLattice:
        """Build a supercell in a field given in tesla.

        Raises:
            BadInput: There are no pairs, or a size is below one.
        """
        if min(size) < 1:
            raise BadInput(f"lattice: the size {size} is not valid; give at least one cell along each vector")
        if not len(couplings.first):
            raise BadInput("lattice: there are no couplings between the sites; compute or read couplings first")
        n, cells = len(couplings.positions), int(np.prod(size))
        grid = np.stack(np.meshgrid(*(np.arange(k) for k in size), indexing="ij"), -1).reshape(-1, 3)
        first, second, shifts, tensors = couplings.both_ways()
        target = grid[:, None, :] + shifts[None, :, :]
        inside = np.ones(target.shape[:2], dtype=bool)
        for axis in range(3):
            if not periodic[axis]:
                inside &= (target[..., axis] >= 0) & (target[..., axis] < size[axis])
        target %= np.array(size)
        row = np.ravel_multi_index(tuple(np.moveaxis(target, -1, 0)), size) * n + second
        own = np.arange(cells)[:, None] * n + first
        pair = np.broadcast_to(np.arange(len(first)), own.shape)
        own, row, pair = own[inside], row[inside], pair[inside]

        onsite = np.tile(couplings.anisotropy, (cells, 1, 1))
        self_coupled = own == row
        # Coupling e . J . e of a spin with its own image, which occurs twice in this list.
        np.add.at(onsite, own[self_coupled], (tensors[pair[self_coupled]] + tensors[pair[self_coupled]].transpose(0, 2, 1)) / 4)
        own, row, pair = own[~self_coupled], row[~self_coupled], pair[~self_coupled]
        order = np.argsort(own, kind="stable")
        own, row, pair = own[order], row[order], pair[order]
        strengths = np.trace(tensors, axis1=1, axis2=2) / 3
        scalar = bool(np.abs(tensors - strengths[:, None, None] * np.eye(3)).max() < 1e-12)
        moments = np.tile(couplings.moments, cells)
        return cls(
            couplings,
            size,
            periodic,
            np.searchsorted(own, np.arange(cells * n + 1)).astype(np.int64),
            row.astype(np.int32),
            strengths[pair],
            np.empty((0, 3, 3)) if scalar else np.ascontiguousarray(tensors[pair]),
            onsite,
            moments,
            MU_B * moments[:, None] * np.asarray(field, dtype=float),
        )

    def __len__(self) -> int:
        return len(self.moments)

    @property
    def scalar(self) -> bool:
        """Whether all couplings are isotropic, so that the kernels need one number per neighbour."""
        return len(self.tensors) == 0

    @property
    def anisotropic(self) -> bool:
        """Whether the energy contains on-site terms quadratic in a spin."""
        return bool(np.abs(self.onsite - np.trace(self.onsite, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)).max() > 1e-12)

    @property
    def positions(self) -> np.ndarray:
        """Positions (N, 3) in Å."""
        grid = np.stack(np.meshgrid(*(np.arange(k) for k in self.size), indexing="ij"), -1).reshape(-1, 3)
        return (grid[:, None, :] @ self.couplings.cell + self.couplings.positions).reshape(-1, 3)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Return random directions (N, 3), uniform on the sphere."""
        spins = rng.standard_normal((len(self), 3))
        return spins / np.linalg.norm(spins, axis=1, keepdims=True)

    def aligned(self, direction: tuple[float, float, float] = (0.0, 0.0, 1.0)) -> np.ndarray:
        """Return spins (N, 3) along one direction."""
        n = np.asarray(direction, dtype=float)
        return np.tile(n / np.linalg.norm(n), (len(self), 1))
