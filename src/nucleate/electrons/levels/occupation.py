"""Exact Fermi-Dirac weights on a piecewise linear density of states.

A density of states given at energies E_i and linear between them is sum_i D_i h_i(E) with hat functions h_i. Then

    int f D dE = sum_i w_i D_i,   int E f D dE = sum_i e_i D_i,   int s D dE = sum_i s_i D_i,

with f = 1/(exp(x) + 1), x = (E - mu)/kT, and s = -f ln f - (1-f) ln(1-f). The integral of a function times a hat is the second difference
of its second antiderivative, which is (J. A. Ellis et al., Phys. Rev. B 104, 035120 (2021), doi 10.1103/PhysRevB.104.035120)

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

COLDEST = 1.0
"""Lowest temperature in K."""
HOTTEST = 1e9
"""Highest temperature in K; powers of much higher temperatures overflow."""


@dataclass(frozen=True)
class Occupation:
    """Integration weights of the energies of a density of states.

    Attributes:
        number: (n_energies,) weights of the number of electrons in eV.
        energy: (n_energies,) weights of the band energy in eV².
        entropy: (n_energies,) weights of the entropy, in units of Boltzmann's constant, in eV.
        slope: (n_energies,) derivatives d number / d mu.
    """

    number: Tensor
    energy: Tensor
    entropy: Tensor
    slope: Tensor


def check_temperature(temperature: float) -> None:
    """Raise `BadInput` unless the temperature is positive and finite."""
    if not COLDEST <= temperature <= HOTTEST:
        raise BadInput(
            f"electronic temperature {temperature:g} K: give a positive number of kelvin, {COLDEST:g} to {HOTTEST:g}; "
            "100 is effectively zero"
        )


def hat_integrals(second_antiderivative: Tensor, spacing: float) -> Tensor:
    """Return integrals with the inner hats from the second antiderivative on the energies and one more point on either side."""
    a = second_antiderivative
    return (a[:-2] - 2 * a[1:-1] + a[2:]) / spacing


def occupation(energies: Tensor, mu: Tensor, temperature: float) -> Occupation:
    """Return the weights at a chemical potential.

    The density of states is assumed to decrease to zero within one spacing outside the window.

    Args:
        energies: (n_energies,) evenly spaced energies in eV, float64.
        mu: Chemical potential in eV; the weights are differentiable in it.
        temperature: Electronic temperature in K.

    Raises:
        BadInput: The temperature is not positive.
    """
    check_temperature(temperature)
    kt = BOLTZMANN * temperature
    spacing = float(energies[1] - energies[0])
    around = torch.cat([energies[:1] - spacing, energies, energies[-1:] + spacing])
    x = (around - mu) / kt
    second, third = polylogarithm(2, x), polylogarithm(3, x)
    return Occupation(
        number=hat_integrals(-(kt**2) * second, spacing),
        # Energies relative to mu, where the terms are small; the shift is restored below.
        energy=mu * hat_integrals(-(kt**2) * second, spacing) + kt**3 * hat_integrals(-x * second - 2 * third, spacing),
        entropy=kt**2 * hat_integrals(-x * second - 3 * third, spacing),
        slope=hat_integrals(-kt * polylogarithm(1, x), spacing),
    )
