"""Exchange-correlation energy E_xc = int n e_xc(n, |grad n|) dr and its potential v_xc = dE_xc/dn by automatic differentiation.

LDA: Slater's exchange, e_x = -(3/4) (3 n/pi)^(1/3), and the correlation of J. P. Perdew and Y. Wang, Phys. Rev. B 45, 13244 (1992), doi
10.1103/PhysRevB.45.13244, spin-paired or with a spin density m = n_up - n_down and its potential dE_xc/dm. PBE, spin-paired alone:
J. P. Perdew, K. Burke and M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), doi 10.1103/PhysRevLett.77.3865. Atomic units are used
internally.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nucleate.electrons.grid import Grid, refined, spectrum
from nucleate.errors import BadInput
from nucleate.units import BOHR, HARTREE

Functional = Literal["LDA", "PBE"]
SMALLEST = 1e-10
"""Minimum density in 1/bohr³; interpolated densities may be slightly negative."""
POLARISED = 1e-7
"""Distance of the polarisation from one, below which it is constant."""
_KAPPA, _MU = 0.804, 0.2195149727645171
_CURVATURE = 1.709921
_BETA, _GAMMA = 0.06672455060314922, (1 - math.log(2)) / math.pi**2


def _correlation(rs: Tensor, a: float, alpha: float, betas: tuple[float, float, float, float]) -> Tensor:
    """Return the function G of Perdew and Wang for one of its three sets of parameters."""
    root = rs.sqrt()
    inner = 2 * a * (betas[0] * root + betas[1] * rs + betas[2] * rs * root + betas[3] * rs * rs)
    return -2 * a * (1 + alpha * rs) * torch.log1p(1 / inner)


def _paired(rs: Tensor) -> Tensor:
    """Return the correlation energy per electron without polarisation, hartree."""
    return _correlation(rs, 0.0310907, 0.21370, (7.5957, 3.5876, 1.6382, 0.49294))


def polarised_energy_per_electron(density: Tensor, spin: Tensor) -> Tensor:
    """Return e_xc of the LDA in hartree for a density and a spin density, both in 1/bohr³."""
    # At full polarisation, the second derivatives of the powers below diverge.
    zeta = torch.clamp(spin / density, -1 + POLARISED, 1 - POLARISED)
    rs = (3 / (4 * math.pi * density)) ** (1 / 3)
    powers = (1 + zeta) ** (4 / 3) + (1 - zeta) ** (4 / 3)
    exchange = -3 / (8 * math.pi) * (3 * math.pi**2 * density) ** (1 / 3) * powers
    paired = _paired(rs)
    ferromagnetic = _correlation(rs, 0.015545, 0.20548, (14.1189, 6.1977, 3.3662, 0.62517))
    stiffness = -_correlation(rs, 0.016887, 0.11125, (10.357, 3.6231, 0.88026, 0.49671))
    mixed, fourth = (powers - 2) / (2 ** (4 / 3) - 2), zeta**4
    return exchange + paired + stiffness * mixed / _CURVATURE * (1 - fourth) + (ferromagnetic - paired) * mixed * fourth


def energy_per_electron(density: Tensor, gradient_squared: Tensor | None = None) -> Tensor:
    """Return e_xc in hartree for a density in 1/bohr³ and, for PBE, the squared gradient in 1/bohr⁸."""
    n = density
    fermi = (3 * math.pi**2 * n) ** (1 / 3)
    exchange = -3 / (4 * math.pi) * fermi
    correlation = _paired((3 / (4 * math.pi * n)) ** (1 / 3))
    if gradient_squared is None:
        return exchange + correlation
    s2 = gradient_squared / (4 * fermi**2 * n**2)
    enhancement = 1 + _KAPPA - _KAPPA / (1 + _MU * s2 / _KAPPA)
    t2 = gradient_squared * math.pi / (16 * fermi * n**2)
    a = _BETA / _GAMMA / torch.expm1(-correlation / _GAMMA)
    at2 = a * t2
    lift = _GAMMA * torch.log1p(_BETA / _GAMMA * t2 * (1 + at2) / (1 + at2 + at2**2))
    return exchange * enhancement + correlation + lift


def xc_energy(density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2, spin: Tensor | None = None) -> Tensor:
    """Return the exchange-correlation energy in eV.

    Args:
        density: Density on the grid in 1/Å³.
        grid: Grid.
        functional: Name of the functional.
        fine: Refinement factor of the integration grid along each axis, as in GPAW; 1 is the grid itself.
        spin: Spin density on the grid in 1/Å³; None: spin-paired.

    Raises:
        BadInput: The functional is PBE and there is a spin density.
    """
    values = refined(density, fine) if fine > 1 else density
    n = torch.clamp(values * BOHR**3, min=SMALLEST)
    if spin is not None:
        if functional != "LDA":
            raise BadInput(f"{functional} is implemented without spin polarisation; use LDA labels for magnets")
        polarised = refined(spin, fine) if fine > 1 else spin
        return HARTREE * grid.volume * (values * polarised_energy_per_electron(n, polarised * BOHR**3)).mean()
    gradient: Tensor | None = None
    if functional == "PBE":
        finer = Grid(grid.cell, (grid.shape[0] * fine, grid.shape[1] * fine, grid.shape[2] * fine))
        waves, coefficients = finer.waves(), spectrum(values)
        slopes = [torch.fft.irfftn(1j * waves[..., k] * coefficients, s=finer.shape, norm="forward") for k in range(3)]
        gradient = torch.stack(slopes).mul(BOHR**4).square().sum(0)
    each = energy_per_electron(n, gradient)
    return HARTREE * grid.volume * (values * each).mean()


def xc_energy_potential(
    density: Tensor, grid: Grid, functional: Functional = "LDA", fine: int = 2, spin: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Return E_xc, v_xc and, with a spin density, its potential (eV, on the grid), all differentiable in the densities."""
    fields = [density] if spin is None else [density, spin]
    with torch.enable_grad():
        fields = [field if field.requires_grad else field.detach().requires_grad_() for field in fields]
        energy = xc_energy(fields[0], grid, functional, fine, *fields[1:])
        slopes = torch.autograd.grad(energy, fields, create_graph=True)
    return energy, *(slope / grid.voxel for slope in slopes)


def local_energy_potential(density: Tensor, spin: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return n e_xc and n v_xc of the LDA, plus m dE_xc/dm with a spin density m, at each point in eV/Å³, not differentiable."""
    with torch.enable_grad():
        fields = [field.detach().requires_grad_() for field in ([density] if spin is None else [density, spin])]
        n = torch.clamp(fields[0] * BOHR**3, min=SMALLEST)
        each = energy_per_electron(n) if spin is None else polarised_energy_per_electron(n, fields[1] * BOHR**3)
        energy = HARTREE * fields[0] * each
        slopes = torch.autograd.grad(energy.sum(), fields)
    products = [field.detach() * slope for field, slope in zip(fields, slopes, strict=True)]
    return energy.detach(), torch.stack(products).sum(0)
