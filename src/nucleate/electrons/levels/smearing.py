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
