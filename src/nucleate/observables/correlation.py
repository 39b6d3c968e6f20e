"""Similarity of line patterns and a measured curve by weighted cross-correlation.

For two patterns f and g and the triangle w(t) = max(0, 1 - |t|/width), the similarity is c(f, g) / sqrt(c(f, f) c(g, g)) with
c(f, g) = int int f(x) w(y - x) g(y) dx dy: R. de Gelder, R. Wehrens and J. A. Hageman, J. Comput. Chem. 22, 273 (2001),
doi 10.1002/1096-987X(200102)22:3<273::AID-JCC1001>3.0.CO;2-0. It is 1 for equal shapes, whatever their scale.

The calculated pattern is a sum of lines, shared by the two nearest points of a uniform grid. Profile and triangle are factors in Fourier
space, so that one transform per pattern gives its norm, and the overlap with the measurement is a sum over lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq


@dataclass(frozen=True)
class Profile:
    """Pseudo-Voigt profile of the lines: fraction `lorentz` of a Lorentzian and the rest of a Gaussian of the same full width.

    Attributes:
        fwhm: full width at half maximum.
        lorentz: fraction of the Lorentzian, 0 to 1.
        cutoff: frequency above which the transform is 0; None: there is none.
    """

    fwhm: float
    lorentz: float = 0.5
    cutoff: float | None = None

    def transform(self, frequencies: np.ndarray) -> np.ndarray:
        """Return the Fourier transform of the profile of unit area."""
        gauss = np.exp(-((np.pi * self.fwhm * frequencies) ** 2) / (4 * np.log(2)))
        sharp: np.ndarray = (1 - self.lorentz) * gauss + self.lorentz * np.exp(-np.pi * self.fwhm * np.abs(frequencies))
        return sharp if self.cutoff is None else np.where(np.abs(frequencies) <= self.cutoff, sharp, 0.0)


class Measured:
    """A measured curve on a uniform grid, prepared for comparison with line patterns at one width of the triangle.

    Args:
        start: position of the first point.
        step: distance of the points.
        values: (n,) measured curve, without background.
        width: width of the triangle, in the unit of the positions.
        profile: profile of calculated lines; None: the calculated curve is not broadened.
    """

    def __init__(self, start: float, step: float, values: np.ndarray, width: float, profile: Profile | None):
        self.start, self.step, self.points, self.width = start, step, len(values), width
        self._values, self._profile = values, profile
        # The patterns are padded, so that the cyclic convolution does not connect the ends.
        margin = int(np.ceil((width + (6 * profile.fwhm if profile else 0.0)) / step)) + 1
        self._padded = next_fast_len(self.points + margin, real=True)
        frequencies = rfftfreq(self._padded, step)
        triangle = width * np.sinc(width * frequencies) ** 2
        shape = np.ones_like(triangle) if profile is None else profile.transform(frequencies)
        transform = rfft(values, self._padded)
        self._own = triangle * shape**2 / step
        smooth = irfft(triangle * transform, self._padded)[: self.points]
        self.overlap = irfft(triangle * shape * transform, self._padded)[: self.points]
        """(n,) overlap of the measured curve with a line at each point of the grid."""
        self.norm = float(np.sqrt(max(values @ smooth * step, 1e-300)))

    def wider(self, factor: int) -> Measured:
        """Return the measurement for a triangle that is wider by a whole factor, on a grid that is coarser by the same factor."""
        bins = self.points // factor
        values = self._values[: bins * factor].reshape(bins, factor).mean(1)
        start = self.start + 0.5 * (factor - 1) * self.step
        return Measured(start, factor * self.step, values, factor * self.width, self._profile)

    def curve(self, lines: np.ndarray) -> np.ndarray:
        """Return lines on the grid (n,) broadened by the profile, in units of area per unit of the positions."""
        shape = 1.0 if self._profile is None else self._profile.transform(rfftfreq(self._padded, self.step))
        return np.asarray(irfft(rfft(lines, self._padded) * shape, self._padded)[: self.points] / self.step)

    def similarities(self, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the similarity of calculated patterns and its derivative with respect to the value at each grid point.

        Args:
            curves: (m, n) patterns on the grid; a line of area A contributes A, shared by two points.

        Returns:
            (m,) similarities and (m, n) derivatives.
        """
        own = irfft(rfft(curves, self._padded) * self._own, self._padded)[:, : self.points]
        square = np.einsum("mn,mn->m", curves, own)
        length = np.sqrt(np.maximum(square, 1e-300))
        value = (curves @ self.overlap) / (length * self.norm)
        slope = self.overlap / (length * self.norm)[:, None] - (value / np.maximum(square, 1e-300))[:, None] * own
        return value, slope


@dataclass(frozen=True)
class Binned:
    """Lines of several patterns on a grid.

    Attributes:
        curves: (m, n) patterns.
        left: (m, k) index of the grid point to the left of each line.
        weights: (m, k) areas of the lines; 0 for lines outside of the grid.
        right: (m, k) share of the right point, 0 to 1.
    """

    curves: np.ndarray
    left: np.ndarray
    weights: np.ndarray
    right: np.ndarray

    def line_slopes(self, slope: np.ndarray, step: float) -> np.ndarray:
        """Return the derivative with respect to the position of each line (m, k) from that with respect to the curves (m, n)."""
        rows = np.arange(len(slope))[:, None]
        result: np.ndarray = self.weights * (slope[rows, self.left + 1] - slope[rows, self.left]) / step
        return result


def binned(measured: Measured, positions: np.ndarray, areas: np.ndarray) -> Binned:
    """Share lines between the two nearest points of the grid of a measurement.

    Args:
        measured: the measurement.
        positions: (m, k) positions; NaN for a line that does not exist.
        areas: (m, k) areas.
    """
    place = (positions - measured.start) / measured.step
    inside = (place >= 0) & (place < measured.points - 1)
    place = np.where(inside, place, 0.0)
    left = place.astype(np.int64)
    right = place - left
    weights = np.where(inside, areas, 0.0)
    flat = left + measured.points * np.arange(len(place))[:, None]
    size = measured.points * len(place)
    curves = np.bincount(flat.ravel(), (weights * (1 - right)).ravel(), size)
    # A line has a point to its right, so that index + 1 stays in its own row.
    curves[1:] += np.bincount(flat.ravel(), (weights * right).ravel(), size)[:-1]
    return Binned(curves.reshape(len(place), measured.points), left, weights, right)
