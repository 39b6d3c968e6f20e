"""Hartree energy of the electrons, E_H = (1/2) V sum_(G != 0) 4 pi k |n_G|² / G², with k = e²/(4 pi epsilon_0).

The G = 0 term is omitted here and in the energy of the ions, because the terms cancel in a neutral cell.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.electrons.grid import Grid, spectrum
from nucleate.units import COULOMB


def coulomb_kernel(grid: Grid) -> Tensor:
    """Return 4 pi k / G² in eV Å³ on the waves of the real Fourier transform, zero at G = 0."""
    squared = grid.waves().square().sum(-1)
    mask = torch.ones_like(squared)
    mask[0, 0, 0] = 0
    return 4 * torch.pi * COULOMB * mask / (squared + (1 - mask))


def hartree_energy(density: Tensor, grid: Grid) -> Tensor:
    """Return the Hartree energy in eV of a density (1/Å³) on the grid."""
    power = spectrum(density).abs().square()
    return grid.volume / 2 * (coulomb_kernel(grid) * power * grid.multiplicity()).sum()
