"""Exact Fermi-Dirac weights on a piecewise linear density of states.

A density of states given at energies E_i and linear between them is sum_i D_i h_i(E), h_i the hat functions. Then

    int f D dE = sum_i w_i D_i,   int E f D dE = sum_i e_i D_i,   int s D dE = sum_i s_i D_i,

with f = 1/(exp(x) + 1), x = (E - mu)/kT, and s = -f ln f - (1-f) ln(1-f). The integral of a function with a hat is the second difference
of the function's second antiderivative; those are (J. A. Ellis et al., Phys. Rev. B 104, 035120 (2021), doi 10.1103/PhysRevB.104.035120)

    f:    G = -(kT)² Li_2(-exp(-x))
    E f:  E G - 2 (kT)³ Li_3(-exp(-x))
    s:    (kT)² [-x Li_2(-exp(-x)) - 3 Li_3(-exp(-x))].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nucleate.electrons.levels.polylogarithm import polylogarithm
from nucleate.errors import BadInput
from nucleate.units import BOLTZMANN

HOTTEST = 1e9
"""K; far above, powers of the temperature overflow."""


@dataclass(frozen=True)
class Occupation:
    """Weights of the energies of a density of states.

    Attributes:
        number: (n_energies,), of the number of electrons, eV.
        energy: (n_energies,), of the band energy, eV².
        entropy: (n_energies,), of the entropy in units of Boltzmann's constant, eV.
        slope: (n_energies,), d number / d mu.
    """

    number: Tensor
    energy: Tensor
    entropy: Tensor
    slope: Tensor


def check_temperature(temperature: float) -> None:
    """Raise `BadInput` unless it is a positive, finite number of kelvin."""
    if not 1 <= temperature <= HOTTEST:
        raise BadInput(
            f"electronic temperature {temperature:g} K: give a positive number of kelvin, 1 to {HOTTEST:g}; 100 is as good as cold"
        )


def hat_integrals(second_antiderivative: Tensor, spacing: float) -> Tensor:
    """Integrals with the inner hats, from the second antiderivative on the energies and one more on either side."""
    a = second_antiderivative
    return (a[:-2] - 2 * a[1:-1] + a[2:]) / spacing


def occupation(energies: Tensor, mu: Tensor, temperature: float) -> Occupation:
    """Weights at a chemical potential.

    The density of states is taken to fall to zero one spacing outside the window.

    Args:
        energies: (n_energies,), evenly spaced, eV, float64.
        mu: chemical potential, eV; derivatives pass through it.
        temperature: of the electrons, K.

    Raises:
        BadInput: a temperature that is not positive.
    """
    check_temperature(temperature)
    kt = BOLTZMANN * temperature
    spacing = float(energies[1] - energies[0])
    around = torch.cat([energies[:1] - spacing, energies, energies[-1:] + spacing])
    x = (around - mu) / kt
    second, third = polylogarithm(2, x), polylogarithm(3, x)
    return Occupation(
        number=hat_integrals(-(kt**2) * second, spacing),
        # Measured from mu, where the terms are small, and shifted back below.
        energy=mu * hat_integrals(-(kt**2) * second, spacing) + kt**3 * hat_integrals(-x * second - 2 * third, spacing),
        entropy=kt**2 * hat_integrals(-x * second - 3 * third, spacing),
        slope=hat_integrals(-kt * polylogarithm(1, x), spacing),
    )
