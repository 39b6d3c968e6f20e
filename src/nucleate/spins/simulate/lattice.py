"""Supercell of a spin Hamiltonian."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings
from nucleate.spins.simulate.stencil import Stencil, make_stencil, reach


@dataclass(frozen=True)
class SpinLattice:
    """Supercell of N = n_a n_b n_c n spins, ordered by cell with c fastest, then by site within the cell.

    The memory is that of the spins: couplings are stored for one cell.

    Attributes:
        couplings: Couplings of one cell.
        size: Number of cells along each vector.
        periodic: Periodicity along each vector; pairs across open boundaries are dropped.
        field: Magnetic field in T.
        onsite: (n, 3, 3) on-site tensors in meV: anisotropy and couplings of a spin with its own image.
        axes: Lattice vectors in the order of the packed arrays.
        margins: Cells of margin along these.
        stencil: Arguments of the kernels.
    """

    couplings: Couplings
    size: tuple[int, int, int]
    periodic: tuple[bool, bool, bool]
    field: tuple[float, float, float]
    onsite: np.ndarray
    axes: tuple[int, int, int]
    margins: tuple[int, int, int]
    stencil: Stencil

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
        onsite = couplings.anisotropy.copy()
        shifts, n = couplings.shifts, np.array(size)
        own = (couplings.first == couplings.second) & (shifts % n == 0).all(axis=1)
        own &= (np.array(periodic) | (np.abs(shifts) < n)).all(axis=1)
        # Coupling e . J . e of a spin with its own image.
        np.add.at(onsite, couplings.first[own], (couplings.tensors[own] + couplings.tensors[own].transpose(0, 2, 1)) / 2)
        wide = reach(couplings, size, periodic)
        a, b, c = sorted(range(3), key=lambda axis: size[axis])
        margins = (int(wide[a]), int(wide[b]), int(wide[c]))
        stencil = make_stencil(couplings, size, periodic, onsite, field, (a, b, c), margins)
        return cls(couplings, size, periodic, field, onsite, (a, b, c), margins, stencil)

    def __len__(self) -> int:
        return len(self.couplings.positions) * int(np.prod(self.size))

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

    def empty(self) -> np.ndarray:
        """Return a packed array of zeros, (n, 3, t)."""
        padded = [self.size[axis] + 2 * margin for axis, margin in zip(self.axes, self.margins, strict=True)]
        return np.zeros((len(self.couplings.positions), 3, int(np.prod(padded))))

    def pack(self, spins: np.ndarray, packed: np.ndarray) -> None:
        """Write spins (N, 3) into a packed array, without its margins."""
        self._cells(packed)[...] = spins.reshape(*self.size, -1, 3).transpose(3, 4, *self.axes)

    def unpack(self, packed: np.ndarray, spins: np.ndarray) -> None:
        """Write a packed array into spins (N, 3)."""
        spins.reshape(*self.size, -1, 3).transpose(3, 4, *self.axes)[...] = self._cells(packed)

    def _cells(self, packed: np.ndarray) -> np.ndarray:
        """Return the view (n, 3, ...) of a packed array without its margins."""
        counts = [self.size[axis] for axis in self.axes]
        padded = packed.reshape(*packed.shape[:2], *(k + 2 * m for k, m in zip(counts, self.margins, strict=True)))
        a, b, c = (slice(m, m + k) for k, m in zip(counts, self.margins, strict=True))
        return padded[:, :, a, b, c]
