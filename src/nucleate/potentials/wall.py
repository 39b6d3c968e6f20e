"""Repulsive pair wall that is added to every learned potential.

V(r) = Z_i Z_j e^2/r * phi(r/a) * s(r), the screened nuclear repulsion of Ziegler, Biersack and Littmark ("The Stopping and Range of Ions
in Solids", Pergamon 1985, ISBN 0-08-021603-X). It is switched off smoothly by s(r) = (1 - (r/r_w)^2)^3 at r_w, a fraction of the sum of
covalent radii, and multiplied by a factor so that it exceeds a learned minimum of a few eV at short distances.
"""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from torch import Tensor

from nucleate.units import COULOMB

_AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


def wall_ranges(numbers: tuple[int, ...], fraction: float) -> Tensor:
    """Return the (n, n) distance r_w at which the wall of each pair of species begins, Å."""
    radii = torch.tensor([covalent_radii[z] for z in numbers], dtype=torch.float64)
    return fraction * (radii.unsqueeze(0) + radii.unsqueeze(1))


def wall_energy(distance: Tensor, z_i: Tensor, z_j: Tensor, reach: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Return the (n,) pair energies (eV) and their derivatives (eV/Å).

    Args:
        distance: (n,) distances, Å.
        z_i, z_j: (n,) atomic numbers.
        reach: (n,) r_w of each pair, Å.
        strength: factor of the repulsion.
    """
    zi, zj = z_i.to(distance.dtype), z_j.to(distance.dtype)
    screening = 0.46850 / (zi**0.23 + zj**0.23)
    x = distance / screening
    phi, slope = torch.zeros_like(x), torch.zeros_like(x)
    for amplitude, exponent in zip(_AMPLITUDES, _EXPONENTS, strict=True):
        term = amplitude * torch.exp(-exponent * x)
        phi = phi + term
        slope = slope - exponent * term
    coulomb = strength * COULOMB * zi * zj / distance
    pair = coulomb * phi
    pair_slope = coulomb * slope / screening - pair / distance
    y = distance / reach
    inside = (1 - y * y).clamp_min(0)
    switch, switch_slope = inside**3, -6 * y / reach * inside**2
    return pair * switch, pair_slope * switch + pair * switch_slope
