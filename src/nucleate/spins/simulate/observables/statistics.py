"""Error bars of correlated series from binning and the jackknife.

H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989), doi 10.1063/1.457480 (binning).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nucleate.errors import BadInput

BINS = 32
"""Number of jackknife bins; a simulation adds a note if bins are shorter than many autocorrelation times."""


def jackknife(series: np.ndarray, measure: Callable[[np.ndarray], np.ndarray | float], bins: int = BINS) -> tuple[np.ndarray, np.ndarray]:
    """Estimate a function of means and its standard error.

    Args:
        series: (t, k) measured quantities.
        measure: Function of the means (..., k).
        bins: Number of bins; a remainder at the beginning of the series is dropped.

    Returns:
        Value and standard error.

    Raises:
        BadInput: There are fewer measurements than bins.
    """
    series = np.atleast_2d(np.asarray(series, dtype=float).T).T
    length = len(series) // bins
    if length < 1:
        raise BadInput(f"{len(series)} measurements are too few for error bars; take at least {bins}")
    means = series[len(series) - bins * length :].reshape(bins, length, -1).mean(axis=1)
    total = means.mean(axis=0)
    left_out = (bins * total - means) / (bins - 1)
    values = np.asarray(measure(left_out), dtype=float)
    whole = np.asarray(measure(total), dtype=float)
    error = np.sqrt((bins - 1) * ((values - values.mean(axis=0)) ** 2).mean(axis=0))
    # Remove the first-order bias of a function of means.
    return bins * whole - (bins - 1) * values.mean(axis=0), error
