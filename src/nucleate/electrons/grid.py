"""Regular real-space grids of a periodic cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Regular grid with point (i, j, k) at fractional coordinates (i/n_1, j/n_2, k/n_3).

    Attributes:
        cell: (3, 3) lattice vectors as rows in Å; may require gradients.
        shape: Number of points along each vector.
    """

    cell: Tensor
    shape: tuple[int, int, int]

    @property
    def size(self) -> int:
        """Number of points."""
        return int(np.prod(self.shape))

    @property
    def volume(self) -> Tensor:
        """Volume of the cell in Å³."""
        return torch.linalg.det(self.cell).abs()

    @property
    def voxel(self) -> Tensor:
        """Volume per grid point in Å³."""
        return self.volume / self.size

    def fractions(self, index: Tensor) -> Tensor:
        """Return fractional coordinates (..., 3) of points with C-order indices, float64."""
        _, n2, n3 = self.shape
        steps = torch.stack([index // (n2 * n3), index // n3 % n2, index % n3], dim=-1)
        return steps / torch.tensor(self.shape, dtype=torch.float64, device=index.device)

    def points(self, index: Tensor) -> Tensor:
        """Return positions (..., 3) of the indexed points in Å."""
        return self.fractions(index) @ self.cell

    def waves(self) -> Tensor:
        """Return wave vectors (n_1, n_2, n_3 // 2 + 1, 3) of the real Fourier transform in 1/Å, including the factor 2 pi."""
        n1, n2, n3 = self.shape
        device = self.cell.device
        whole = torch.meshgrid(
            torch.fft.fftfreq(n1, 1 / n1, dtype=torch.float64, device=device),
            torch.fft.fftfreq(n2, 1 / n2, dtype=torch.float64, device=device),
            torch.fft.rfftfreq(n3, 1 / n3, dtype=torch.float64, device=device),
            indexing="ij",
        )
        return 2 * torch.pi * torch.stack(whole, dim=-1) @ torch.linalg.inv(self.cell).T

    def multiplicity(self) -> Tensor:
        """Return the number of full-transform waves represented by each wave of the real transform, (n_3 // 2 + 1,)."""
        n3 = self.shape[2]
        counts = torch.full((n3 // 2 + 1,), 2.0, dtype=torch.float64, device=self.cell.device)
        counts[0] = 1
        if n3 % 2 == 0:
            counts[-1] = 1
        return counts


def spectrum(values: Tensor) -> Tensor:
    """Return Fourier coefficients c_G = (1/N) sum_r f(r) exp(-iGr) of real values on a grid."""
    return torch.fft.rfftn(values, norm="forward")


def refined(values: Tensor, factor: int = 2) -> Tensor:
    """Interpolate trigonometrically onto a grid `factor` times finer along each axis.

    The Nyquist wave of an even axis is split between both ends, so that the interpolation is real.
    """
    shape = values.shape
    fine = tuple(factor * n for n in shape)
    coefficients = torch.fft.fftn(values, norm="forward")
    for axis, n in enumerate(shape):
        low = coefficients.narrow(axis, 0, (n + 1) // 2)
        high = coefficients.narrow(axis, n - (n - 1) // 2, (n - 1) // 2)
        gap = list(coefficients.shape)
        if n % 2 == 0:
            edge = coefficients.narrow(axis, n // 2, 1) / 2
            gap[axis] = fine[axis] - n - 1
            parts = [low, edge, coefficients.new_zeros(gap), edge, high]
        else:
            gap[axis] = fine[axis] - n
            parts = [low, coefficients.new_zeros(gap), high]
        coefficients = torch.cat(parts, dim=axis)
    return torch.fft.ifftn(coefficients, norm="forward").real
