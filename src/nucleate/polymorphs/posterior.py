"""Probability of each candidate, from its energy and the agreement with measurements.

One of the candidates is assumed to be the measured crystal. Its probability is proportional to prior times likelihoods:

- Energy: the measured polymorph lies e >= 0 above the ground state with a probability exp(-e/scale). A calculated e has a Gaussian error,
  so that the prior of a candidate is the mean of exp(-e/scale) over the e >= 0 that its calculated energy allows.
- Curves (powder pattern, pair distribution function): the unexplained part of a curve is 1 - s², where s is the similarity after the best
  scale. Gaussian errors of unknown size, with the prior 1/size, give the likelihood (1 - s²)^(-n/2) for n independent data (H. Jeffreys,
  Proc. R. Soc. Lond. A 186, 453 (1946), doi 10.1098/rspa.1946.0056, for the prior). The points of a curve are not independent; n is
  calibrated on synthetic data, see `benchmarks/observables/powder` and `benchmarks/observables/pairs`.
- Chemical shifts: Gaussian errors whose size is the standard error times an unknown factor. With a scaled inverse chi² prior of the squared
  factor, worth m data around 1, the likelihood of n data is (1 + chi²/m)^(-(n + m)/2). Errors that are larger than stated would otherwise
  count as evidence. m is calibrated on synthetic shifts, see `benchmarks/observables/shifts`.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr, logsumexp

POWDER_POINTS = 50.0
"""Effective number of independent data in a powder pattern.

The synthetic patterns of the calibration have their highest likelihood at a larger number. They contain no texture and no impurities,
which make real patterns agree less well with the right structure.
"""
PAIR_POINTS = 20.0
"""The same for a pair distribution function, close to the number of highest likelihood on synthetic functions."""
SHIFT_PRIOR = 6.0
"""Number of data that the standard errors of predicted shifts are worth; chosen on synthetic shifts."""
LEAST = 1e-6
"""Smallest unexplained part of a curve that counts."""


def log_prior(energies: np.ndarray, scale: float, error: float) -> np.ndarray:
    """Return the logarithm (n,) of the prior of candidates, up to a constant.

    With e = energy above the lowest, mean of exp(-e'/scale) over a Gaussian of e' around e cut off at 0.

    Args:
        energies: (n,) energies, eV/atom.
        scale: decay of the prior, eV/atom.
        error: standard error of an energy difference, eV/atom; 0: none.
    """
    above = energies - energies.min()
    if error == 0:
        return np.asarray(-above / scale)
    shift = error**2 / scale
    # int_0^inf exp(-x/scale) N(x; e, error²) dx = exp(-e/scale + error²/(2 scale²)) Phi((e - shift)/error)
    logarithm = -above / scale + shift / (2 * scale) + log_ndtr((above - shift) / error) - log_ndtr(above / error)
    return np.asarray(logarithm)


def log_likelihood_of_curve(similarities: np.ndarray, points: float) -> np.ndarray:
    """Return the logarithm (n,) of the likelihood of a measured curve, -(points/2) log(1 - s²), up to a constant.

    Args:
        similarities: (n,) similarities s of the candidates, at most 1.
        points: effective number of independent data.
    """
    unexplained = np.maximum(1 - np.clip(similarities, 0, 1) ** 2, LEAST)
    return np.asarray(-0.5 * points * np.log(unexplained))


def log_likelihood_of_shifts(chi2: np.ndarray, data: int, prior: float = SHIFT_PRIOR) -> np.ndarray:
    """Return the logarithm (n,) of the likelihood of measured shifts, -((data + prior)/2) log(1 + chi²/prior), up to a constant.

    Args:
        chi2: (n,) sums of squared deviations of the candidates in units of the standard errors.
        data: number of shifts less that of fitted slopes and offsets; at least 1 is used.
        prior: number of data that the standard errors are worth; infinite: they are known.
    """
    if np.isinf(prior):
        return np.asarray(-0.5 * chi2)
    return np.asarray(-0.5 * (max(data, 1) + prior) * np.log1p(chi2 / prior))


def posterior(*logarithms: np.ndarray) -> np.ndarray:
    """Return probabilities (n,) that sum to 1, from logarithms of prior and likelihoods (n,) each."""
    total = np.sum(logarithms, axis=0)
    return np.asarray(np.exp(total - logsumexp(total)))
