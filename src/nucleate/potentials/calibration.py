"""Calibration of the committee's spread on labels that were not used in training.

Interval coverage as in V. Kuleshov et al., ICML 2018, arXiv:1807.00263, with one factor on the spread.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import spearmanr

Z90 = 1.6449
"""Half width of the 90 % interval of a normal distribution in standard deviations."""


@dataclass(frozen=True)
class Calibration:
    """Errors and spread of the last model on new labels, before training on them.

    Attributes:
        labels: how many.
        coverage: share of errors within the 90 % interval of the calibrated uncertainty the model had; None without labels.
        rank_correlation: Spearman correlation of sigma with |error|; None below 4 labels.
        mae: mean absolute error of the energy, eV/atom.
        force_rmse: eV/Å.
        factor: the new factor on the spread.
    """

    labels: int
    coverage: float | None
    rank_correlation: float | None
    mae: float
    force_rmse: float
    factor: float

    def as_dict(self) -> dict[str, Any]:
        """JSON-serialisable."""
        return asdict(self)


def calibrate(
    errors: np.ndarray, spread: np.ndarray, old_factor: float, force_rmse: float, history: np.ndarray | None = None
) -> Calibration:
    """Evaluate the previous factor on new labels, then fit the next one.

    Args:
        errors: (n,) reference minus prediction, eV/atom.
        spread: (n,) raw standard deviation over members, eV/atom.
        old_factor: factor in use when the predictions were made.
        force_rmse: of the same labels, eV/Å.
        history: ratios |error|/spread of earlier rounds that steady the fit.
    """
    ratio = np.abs(errors) / np.maximum(spread, 1e-6)
    if len(ratio) == 0:
        return Calibration(0, None, None, float("nan"), force_rmse, old_factor)
    coverage = float(np.mean(ratio <= Z90 * old_factor))
    rank = None
    if len(ratio) >= 4 and np.ptp(spread) > 0 and np.ptp(np.abs(errors)) > 0:
        rank = float(spearmanr(spread, np.abs(errors))[0])
    pooled = ratio if history is None else np.concatenate([history, ratio])
    factor = float(np.clip(np.quantile(pooled, 0.9) / Z90, 0.2, 50.0))
    return Calibration(len(ratio), coverage, rank, float(np.mean(np.abs(errors))), force_rmse, factor)
