"""Density terms in large cells, evaluated plane by plane to store only the density and its Fourier transform."""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.electrons.grid import Grid, spectrum
from nucleate.electrons.terms.exchange_correlation import local_energy_potential
from nucleate.electrons.terms.free_energy import DensityTerms
from nucleate.units import COULOMB

PLANES = 4
"""Number of grid planes evaluated at a time."""


def density_terms_in_planes(density: Tensor, grid: Grid, spin: Tensor | None = None) -> DensityTerms:
    """Return the terms of `density_terms` for the LDA on the grid itself, not differentiable."""
    hartree, xc, potential = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    parts = [density.split(PLANES)] if spin is None else [density.split(PLANES), spin.split(PLANES)]
    for fields in zip(*parts, strict=True):
        energy, product = local_energy_potential(*fields)
        xc += energy.sum()
        potential += product.sum()
    coefficients, counts = spectrum(density), grid.multiplicity()
    reciprocal = 2 * torch.pi * torch.linalg.inv(grid.cell).T
    n1, n2, n3 = grid.shape
    b, c = torch.fft.fftfreq(n2, 1 / n2, dtype=torch.float64), torch.fft.rfftfreq(n3, 1 / n3, dtype=torch.float64)
    plane = b[:, None, None] * reciprocal[1] + c[None, :, None] * reciprocal[2]
    for first, a in enumerate(torch.fft.fftfreq(n1, 1 / n1, dtype=torch.float64)):
        squared = (plane + a * reciprocal[0]).square().sum(-1)
        power = coefficients[first].abs().square() * counts
        if first == 0:
            power[0, 0], squared[0, 0] = 0, 1
        hartree += (power / squared).sum()
    return DensityTerms(2 * torch.pi * COULOMB * grid.volume * hartree, xc * grid.voxel, potential * grid.voxel)
