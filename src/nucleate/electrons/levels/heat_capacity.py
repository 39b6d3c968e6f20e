"""Heat capacity of electrons with fixed levels: C = T dS/dT at a fixed number of electrons, with the entropy S of `occupation`.

At low temperature it is (pi²/3) k² T D(mu) (A. Sommerfeld, Z. Phys. 47, 1 (1928), doi 10.1007/BF01391052).
"""

from __future__ import annotations

from torch import Tensor

from nucleate.electrons.levels.occupation import COLDEST, HOTTEST
from nucleate.electrons.levels.smearing import unsmeared_level

STEP = 0.01
"""Change of the temperature for the derivative, relative to the temperature."""


def heat_capacity(energies: Tensor, dos: Tensor, electrons: float, sigma: float, temperature: float) -> float:
    """Return the heat capacity of the electrons in units of Boltzmann's constant.

    Changes of the levels with the electronic temperature are not included.

    Args:
        energies: (n_energies,) energies in eV.
        dos: (n_energies,) density of states in 1/eV.
        electrons: Number of electrons.
        sigma: Width of the Gaussians of the density of states in eV.
        temperature: Electronic temperature in K.

    Raises:
        BadInput: There is no Fermi level inside the energy window.
    """
    low, high = max(COLDEST, (1 - STEP) * temperature), min(HOTTEST, (1 + STEP) * temperature)
    below, above = (float(unsmeared_level(energies, dos, electrons, sigma, each)[1].entropy @ dos) for each in (low, high))
    return temperature * (above - below) / (high - low)
