"""Zeros of energy that move with the levels of a structure.

The engine's levels are relative to the average electrostatic potential, from which they move by electronvolts when the volume changes:
those of aluminium by -0.5 eV/Å³ at the Fermi level. The Fermi level of free electrons of the same density,

    E = hbar² (3 pi² N / V)^(2/3) / (2 m)

(N. W. Ashcroft and N. D. Mermin, Solid State Physics, 1976, chapter 2), is known exactly and takes most of this change with it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nucleate.units import BOHR, HARTREE

Zero = Literal["free electrons", "potential"]
"""Zero of energy: the Fermi level of free electrons, or the average electrostatic potential."""


def zero_of_energy(zero: Zero, electrons: float, volume: Tensor) -> Tensor:
    """Return the zero in eV, relative to the average electrostatic potential; differentiable in the volume (Å³)."""
    if zero == "potential":
        return torch.zeros((), dtype=torch.float64)
    return 0.5 * HARTREE * BOHR**2 * (3 * torch.pi**2 * electrons / volume) ** (2 / 3)
