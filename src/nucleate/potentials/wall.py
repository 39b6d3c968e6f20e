"""Repulsive pair wall below every learned potential.

V(r) = Z_i Z_j e^2/r * phi(r/a) * s(r), the screened nuclear repulsion of Ziegler, Biersack and Littmark ("The Stopping and Range of Ions
in Solids", Pergamon 1985, ISBN 0-08-021603-X), switched off smoothly by s(r) = (1 - (r/r_w)^2)^3 at r_w, a fraction of the sum of
covalent radii, and strengthened so that it stands above any learned well of a few eV there.
"""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from torch import Tensor

from nucleate.units import COULOMB

_AMPLITUDES = (0.18175, 0.50986, 0.28022, 0.02817)
_EXPONENTS = (3.19980, 0.94229, 0.40290, 0.20162)


def wall_ranges(numbers: tuple[int, ...], fraction: float) -> Tensor:
    """(n, n) distance at which the wall of each pair of species begins, Å."""
    radii = torch.tensor([covalent_radii[z] for z in numbers], dtype=torch.float64)
    return fraction * (radii.unsqueeze(0) + radii.unsqueeze(1))


def wall_energy(distance: Tensor, z_i: Tensor, z_j: Tensor, reach: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Pair energy (eV) and its derivative (eV/Å).

    Args:
        distance: (n,), Å.
        z_i, z_j: (n,) atomic numbers.
        reach: (n,) r_w of each pair, Å.
        strength: factor on the repulsion.
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
