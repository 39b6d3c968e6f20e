"""Exchange-correlation energy E_xc = int n e_xc(n, |grad n|) dr and its potential v_xc = dE_xc/dn by automatic differentiation.

LDA: Slater's exchange, e_x = -(3/4) (3 n/pi)^(1/3), and the correlation of J. P. Perdew and Y. Wang, Phys. Rev. B 45, 13244 (1992), doi
10.1103/PhysRevB.45.13244 (unpolarised). PBE: J. P. Perdew, K. Burke and M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), doi
10.1103/PhysRevLett.77.3865. Atomic units are used internally.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nucleate.electrons.grid import Grid, refined, spectrum
from nucleate.units import BOHR, HARTREE

Functional = Literal["LDA", "PBE"]
SMALLEST = 1e-10
"""Minimum density in 1/bohr³; interpolated densities may be slightly negative."""
_KAPPA, _MU = 0.804, 0.2195149727645171
_BETA, _GAMMA = 0.06672455060314922, (1 - math.log(2)) / math.pi**2


def _correlation(rs: Tensor) -> Tensor:
    root = rs.sqrt()
    a, alpha = 0.0310907, 0.21370
    inner = 2 * a * (7.5957 * root + 3.5876 * rs + 1.6382 * rs * root + 0.49294 * rs * rs)
    return -2 * a * (1 + alpha * rs) * torch.log1p(1 / inner)


def energy_per_electron(density: Tensor, gradient_squared: Tensor | None = None) -> Tensor:
    """Return e_xc in hartree for a density in 1/bohr³ and, for PBE, the squared gradient in 1/bohr⁸."""
    n = density
    fermi = (3 * math.pi**2 * n) ** (1 / 3)
    exchange = -3 / (4 * math.pi) * fermi
    correlation = _correlation((3 / (4 * math.pi * n)) ** (1 / 3))
    if gradient_squared is None:
        return exchange + correlation
    s2 = gradient_squared / (4 * fermi**2 * n**2)
    enhancement = 1 + _KAPPA - _KAPPA / (1 + _MU * s2 / _KAPPA)
    t2 = gradient_squared * math.pi / (16 * fermi * n**2)
    a = _BETA / _GAMMA / torch.expm1(-correlation / _GAMMA)
    at2 = a * t2
    lift = _GAMMA * torch.log1p(_BETA / _GAMMA * t2 * (1 + at2) / (1 + at2 + at2**2))
    return exchange * enhancement + correlation + lift


def xc_energy(density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2) -> Tensor:
    """Return the exchange-correlation energy in eV.

    Args:
        density: Density on the grid in 1/Å³.
        grid: Grid.
        functional: Name of the functional.
        fine: Refinement factor of the integration grid along each axis, as in GPAW; 1 is the grid itself.
    """
    values = refined(density, fine) if fine > 1 else density
    n = torch.clamp(values * BOHR**3, min=SMALLEST)
    gradient: Tensor | None = None
    if functional == "PBE":
        finer = Grid(grid.cell, (grid.shape[0] * fine, grid.shape[1] * fine, grid.shape[2] * fine))
        waves, coefficients = finer.waves(), spectrum(values)
        slopes = [torch.fft.irfftn(1j * waves[..., k] * coefficients, s=finer.shape, norm="forward") for k in range(3)]
        gradient = torch.stack(slopes).mul(BOHR**4).square().sum(0)
    each = energy_per_electron(n, gradient)
    return HARTREE * grid.volume * (values * each).mean()


def xc_energy_potential(density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2) -> tuple[Tensor, Tensor]:
    """Return E_xc and v_xc (eV, on the grid), both differentiable in the density."""
    with torch.enable_grad():
        density = density if density.requires_grad else density.detach().requires_grad_()
        energy = xc_energy(density, grid, functional, fine)
        (slope,) = torch.autograd.grad(energy, density, create_graph=True)
    return energy, slope / grid.voxel


def local_energy_potential(density: Tensor) -> tuple[Tensor, Tensor]:
    """Return n e_xc (eV/Å³) and v_xc (eV) of the LDA at each point, without automatic differentiation."""
    with torch.enable_grad():
        n = density.detach().requires_grad_()
        energy = HARTREE * n * energy_per_electron(torch.clamp(n * BOHR**3, min=SMALLEST))
        (potential,) = torch.autograd.grad(energy.sum(), n)
    return energy.detach(), potential
