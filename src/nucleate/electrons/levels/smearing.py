"""Second-order correction of the Gaussian smearing of a density of states.

Levels broadened by Gaussians of width sigma and interpolated linearly between energies with spacing d act on a smooth function like levels
with smearing variance sigma² + d²/6: a Gaussian of variance sigma² adds (sigma²/2) g'' to the integral of g with a level, linear
interpolation adds (d²/12) g''. Hence

    L -> L - (sigma²/2 + d²/12) d²L/dE²,

which affects only the weights: with the symmetric second difference D2, w -> w - (sigma²/2 + d²/12) D2 w.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.occupation import Occupation, check_temperature, occupation


def unsmeared(weights: Tensor, sigma: float, spacing: float) -> Tensor:
    """Correct weights for the smearing of a density of states that vanishes at both ends of its window."""
    inner = torch.nn.functional.pad(weights[None, None], (1, 1), mode="replicate")[0, 0]
    second = (inner[:-2] - 2 * inner[1:-1] + inner[2:]) / spacing**2
    return weights - (sigma**2 / 2 + spacing**2 / 12) * second


def unsmeared_occupation(weights: Occupation, sigma: float, spacing: float) -> Occupation:
    """Correct all weights of an occupation."""
    return Occupation(*(unsmeared(part, sigma, spacing) for part in (weights.number, weights.energy, weights.entropy, weights.slope)))


def weigher(energies: Tensor, sigma: float, temperature: float, correct: bool = True) -> Callable[[Tensor], Occupation]:
    """Return the occupation weights as a function of the chemical potential, corrected for the smearing by default."""
    check_temperature(temperature)
    spacing = float(energies[1] - energies[0])

    def weigh(mu: Tensor) -> Occupation:
        weights = occupation(energies, mu, temperature)
        return unsmeared_occupation(weights, sigma, spacing) if correct else weights

    return weigh


def unsmeared_level(energies: Tensor, dos: Tensor, electrons: float, sigma: float, temperature: float) -> tuple[Tensor, Occupation]:
    """Return the Fermi level in eV and the weights at it, corrected for the smearing.

    Corrected weights have several roots in a gap; the one next to the Fermi level of the density of states as it is is meant.

    Args:
        energies: (n_energies,) energies in eV.
        dos: (n_energies,) density of states in 1/eV.
        electrons: Number of electrons.
        sigma: Width of the Gaussians in eV.
        temperature: Electronic temperature in K.

    Raises:
        BadInput: There is no Fermi level inside the energy window.
    """
    weigh = weigher(energies, sigma, temperature)
    plain = fermi_level(energies, dos, electrons, weigher(energies, sigma, temperature, correct=False))
    level = fermi_level(energies, dos, electrons, weigh, near=float(plain))
    return level, weigh(level)
