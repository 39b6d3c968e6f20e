"""Statistics of series whose values are correlated in time."""

from __future__ import annotations

import numpy as np


def autocorrelation_time(series: np.ndarray, window: float = 6.0) -> float:
    """Return the integrated autocorrelation time of `series` (t,) in steps; it is 0.5 for independent values.

    The sum over the autocorrelation function ends at `window` times its own value: A. Sokal, in Functional Integration (1997), doi
    10.1007/978-1-4899-0319-8_6.
    """
    x = np.asarray(series, dtype=float) - np.mean(series)
    n = len(x)
    power = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    correlation = np.fft.irfft(power)[:n]
    if n < 2 or correlation[0] <= 0:
        return 0.5
    summed = 0.5 + np.cumsum(correlation[1:] / correlation[0])
    enough = np.flatnonzero(np.arange(1, n) >= window * summed)
    return float(max(0.5, summed[enough[0]] if len(enough) else summed[-1]))
