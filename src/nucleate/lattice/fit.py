"""Linear fits of interactions to energies, with errors of prediction by cross-validation.

Least squares, ridge regression (A. E. Hoerl and R. W. Kennard, Technometrics 12, 55 (1970), doi 10.1080/00401706.1970.10488634) and
automatic relevance determination (scikit-learn). Leave-one-out errors of the linear fits follow from the hat matrix without refitting.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nucleate.errors import BadInput, MissingDependency

Method = Literal["least-squares", "ridge", "ard"]
METHODS: tuple[Method, ...] = ("least-squares", "ridge", "ard")
STRENGTHS = np.logspace(-10, 2, 49)
"""Ridge parameters that are tried, in units of the mean square of the scaled columns."""


@dataclass(frozen=True)
class Fit:
    """Result of a fit.

    Attributes:
        coefficients: (p,) interactions, eV per figure.
        errors: (p,) standard errors of the coefficients of least squares; NaN for the other methods.
        rmse: Root mean square error of the fitted energies, eV per primitive cell.
        loo: Root mean square leave-one-out error, eV per primitive cell; for `ard` of ten folds.
        loo_each: (n,) leave-one-out errors, eV per primitive cell.
        nested: Root mean square error of nested cross-validation, in which the outer folds choose no parameter.
        strength: Ridge parameter, or None.
    """

    coefficients: np.ndarray
    errors: np.ndarray
    rmse: float
    loo: float
    loo_each: np.ndarray
    nested: float
    strength: float | None = None


def fit(design: np.ndarray, energies: np.ndarray, method: Method = "least-squares", folds: int = 10, seed: int = 0) -> Fit:
    """Fit energies = design @ coefficients.

    Args:
        design: (n, p) matrix, the first column of which is the constant.
        energies: (n,) energies, eV per primitive cell.
        method: `least-squares`, `ridge` (its parameter from the leave-one-out error) or `ard`.
        folds: Number of folds of nested cross-validation.
        seed: Seed of the folds.

    Raises:
        BadInput: There are fewer energies than parameters, or columns are linearly dependent (least squares).
        MissingDependency: `ard` without scikit-learn.
    """
    n, p = design.shape
    if n <= p and method == "least-squares":
        raise BadInput(f"{n} energies do not determine {p} interactions; lower the cutoffs, add arrangements, or choose ridge")
    if n < 3:
        raise BadInput(f"{n} energies are too few for a fit")
    if method == "least-squares":
        rank = np.linalg.matrix_rank(design / np.maximum(np.abs(design).max(axis=0), 1e-300))
        if rank < p:
            raise BadInput(
                f"the arrangements determine only {rank} of {p} interactions; lower the cutoffs, add larger cells, or choose ridge"
            )
    solve = _solver(method)
    coefficients, each, strength = solve(design, energies)
    residual = energies - design @ coefficients
    errors = np.full(p, np.nan)
    if method == "least-squares":
        variance = float(residual @ residual) / max(n - p, 1)
        errors = np.sqrt(variance * np.diag(np.linalg.pinv(design.T @ design)))
    groups = np.random.default_rng(seed).permutation(n) % min(folds, n)
    outer = np.empty(n)
    for fold in range(min(folds, n)):
        held = groups == fold
        outer[held] = energies[held] - design[held] @ solve(design[~held], energies[~held])[0]
    return Fit(coefficients, errors, _rms(residual), _rms(each), each, _rms(outer), strength)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _solver(method: Method) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, float | None]]:
    return {"least-squares": _least_squares, "ridge": _ridge, "ard": _ard}[method]


def _least_squares(design: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
    coefficients = np.linalg.lstsq(design, energies, rcond=1e-12)[0]
    q = np.linalg.svd(design, full_matrices=False)[0][:, : np.linalg.matrix_rank(design)]
    leverage = (q**2).sum(axis=1)
    return coefficients, (energies - design @ coefficients) / np.maximum(1 - leverage, 1e-12), None


def _ridge(design: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Solve with the constant unpenalised and the other columns scaled; the parameter minimises the leave-one-out error."""
    centre, level = design[:, 1:].mean(axis=0), float(energies.mean())
    scale = np.maximum(design[:, 1:].std(axis=0), 1e-12)
    x, y = (design[:, 1:] - centre) / scale, energies - level
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    best: tuple[float, float, np.ndarray] | None = None
    for strength in STRENGTHS * len(y):
        shrink = s**2 / (s**2 + strength)
        # The constant takes one n-th of every leverage.
        each = (y - u @ (shrink * projected)) / np.maximum(1 - (u**2 @ shrink) - 1 / len(y), 1e-12)
        if best is None or _rms(each) < best[0]:
            best = _rms(each), float(strength), each
    assert best is not None
    slopes = vt.T @ (s / (s**2 + best[1]) * projected) / scale
    return np.concatenate([[level - centre @ slopes], slopes]), best[2], best[1] / len(y)


def _ard(design: np.ndarray, energies: np.ndarray) -> tuple[np.ndarray, np.ndarray, None]:
    coefficients = _ard_coefficients(design, energies)
    groups = np.arange(len(energies)) % min(10, len(energies))
    each = np.empty(len(energies))
    for fold in np.unique(groups):
        held = groups == fold
        each[held] = energies[held] - design[held] @ _ard_coefficients(design[~held], energies[~held])
    return coefficients, each, None


def _ard_coefficients(design: np.ndarray, energies: np.ndarray) -> np.ndarray:
    try:
        from sklearn.linear_model import ARDRegression
    except ImportError:
        raise MissingDependency("method ard needs scikit-learn: pip install 'nucleate[lattice]'") from None
    centre, level = design[:, 1:].mean(axis=0), float(energies.mean())
    scale = np.maximum(design[:, 1:].std(axis=0), 1e-12)
    # Energies of order one keep the priors of the package away from the data.
    unit = max(float(energies.std()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ARDRegression(fit_intercept=False, max_iter=1000, tol=1e-6).fit((design[:, 1:] - centre) / scale, (energies - level) / unit)
    slopes = model.coef_ * unit / scale
    result: np.ndarray = np.concatenate([[level - centre @ slopes], slopes])
    return result
