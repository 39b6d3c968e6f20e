"""Calibration of the committee's standard deviation on labels that were not used in training.

Interval coverage as in V. Kuleshov et al., ICML 2018, arXiv:1807.00263, with one factor of the standard deviation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Z90 = 1.6449
"""Half width of the 90 % interval of a normal distribution in standard deviations."""


@dataclass(frozen=True)
class Calibration:
    """Errors and uncertainties of a model on new labels, before it is trained on them.

    Attributes:
        labels: number of new labels.
        coverage: fraction of errors within the 90 % interval of the calibrated uncertainty; None without labels.
        rank_correlation: Spearman correlation of sigma with |error|; None for fewer than 4 labels.
        mae: mean absolute error of the energy, eV/atom.
        force_rmse: root mean square error of the forces, eV/Å.
        factor: new calibration factor of the standard deviation.
        median: median absolute error of the energy, eV/atom.
    """

    labels: int
    coverage: float | None
    rank_correlation: float | None
    mae: float
    force_rmse: float
    factor: float
    median: float

    def as_dict(self) -> dict[str, Any]:
        """Return the values as a JSON-serialisable dictionary."""
        return asdict(self)


def calibrate(
    errors: np.ndarray, spread: np.ndarray, old_factor: float, force_rmse: float, history: np.ndarray | None = None
) -> Calibration:
    """Evaluate the previous calibration factor on new labels, then fit the next one.

    Args:
        errors: (n,) reference minus prediction, eV/atom.
        spread: (n,) uncalibrated standard deviations over the members, eV/atom.
        old_factor: calibration factor of the predictions.
        force_rmse: root mean square error of the forces on the same labels, eV/Å.
        history: ratios |error|/spread of earlier rounds, which are included in the fit.
    """
    ratio = np.abs(errors) / np.maximum(spread, 1e-6)
    if len(ratio) == 0:
        return Calibration(0, None, None, float("nan"), force_rmse, old_factor, float("nan"))
    coverage = float(np.mean(ratio <= Z90 * old_factor))
    rank = None
    if len(ratio) >= 4 and np.ptp(spread) > 0 and np.ptp(np.abs(errors)) > 0:
        # Every start of nucleate would wait half a second for scipy.stats.
        from scipy.stats import spearmanr

        rank = float(spearmanr(spread, np.abs(errors))[0])
    pooled = ratio if history is None else np.concatenate([history, ratio])
    factor = float(np.clip(np.quantile(pooled, 0.9) / Z90, 0.2, 50.0))
    mean, median = float(np.mean(np.abs(errors))), float(np.median(np.abs(errors)))
    return Calibration(len(ratio), coverage, rank, mean, force_rmse, factor, median)
