"""Powder patterns of crystals, and their similarity to a measured one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.observables.background import background
from nucleate.observables.correlation import Measured, Profile
from nucleate.observables.radiation import LARGEST_S, Radiation
from nucleate.observables.reflections import Reflections, reflections, turned
from nucleate.observables.variable_cell import CellFit, FitSettings, fit_cell, plain_similarity, stages, strained_curve
from nucleate.progress import Progress, silent


@dataclass(frozen=True)
class PowderSettings:
    """How a powder pattern is compared.

    Attributes:
        width: width of the triangle of the similarity, degrees; None: 1 degree at the wavelength 1.54 Å, in proportion for others.
        fwhm: full width of calculated lines, degrees; None: 0.15 degrees at 1.54 Å, in proportion for others.
        lorentz: fraction of the Lorentzian in the pseudo-Voigt profile of calculated lines.
        b_iso: isotropic displacement parameter B of all atoms, Å².
        zero: largest shift of the zero of 2 theta, degrees.
        strain: largest absolute principal strain of the variable-cell comparison.
        bend: range of 2 theta over which the background may bend, in units of `width`; 0: the data have no background.
    """

    width: float | None = None
    fwhm: float | None = None
    lorentz: float = 0.5
    b_iso: float = 0.5
    zero: float = 0.1
    strain: float = 0.05
    bend: float = 6.0


@dataclass(frozen=True)
class PowderData:
    """A measured powder pattern, prepared for comparison.

    Attributes:
        radiation: X-rays or neutrons.
        settings: see `PowderSettings`.
        two_theta: (n,) uniform grid, degrees.
        counts: (n,) measured pattern on this grid.
        background: (n,) its background.
        levels: the pattern for decreasing widths of the triangle; the last one is that of the similarity.
        fit: settings of the variable-cell fit.
    """

    radiation: Radiation
    settings: PowderSettings
    two_theta: np.ndarray
    counts: np.ndarray
    background: np.ndarray
    levels: list[Measured]
    fit: FitSettings

    @property
    def largest(self) -> float:
        """Largest 1/d of reflections that can move into the measured range, 1/Å."""
        edge = 2 * np.sin(np.radians(self.two_theta[-1] / 2)) / self.radiation.wavelength
        return float(edge * np.exp(self.settings.strain))


GRID = 20
"""Points of the uniform grid per width of the triangle."""
FEWEST_POINTS = 2 * max(FitSettings.widths) + 8
"""Fewest points, of which two or more remain on the coarsest grid of the fit."""
MOST_POINTS = 50_000
"""Largest number of points of the uniform grid."""


def powder_data(two_theta: np.ndarray, counts: np.ndarray, radiation: Radiation, settings: PowderSettings | None = None) -> PowderData:
    """Prepare a measured pattern: average it on a uniform grid and remove its background.

    Args:
        two_theta: (n,) increasing angles, degrees.
        counts: (n,) intensities.
        radiation: X-rays or neutrons.
        settings: see `PowderSettings`.

    Raises:
        BadInput: the range of angles is too short or too long for the width of the triangle, nothing is left above the background, or
            X-ray data reach beyond the form factors.
    """
    settings = settings or PowderSettings()
    refuse_large_s(float(two_theta[-1]), radiation)
    width = settings.width or radiation.wavelength / 1.5406
    profile = Profile(settings.fwhm or 0.15 * radiation.wavelength / 1.5406, settings.lorentz)
    grid, values = uniform(two_theta, counts, width / GRID)
    below = background(values, settings.bend * GRID) if settings.bend else np.zeros_like(values)
    clean = values - below
    if not clean.max() > 1e-9 * np.abs(values).max():
        raise BadInput("the powder pattern has no peak above its background; is the column of intensities right?")
    measured = Measured(grid[0], grid[1] - grid[0], clean / clean.max(), width, profile)
    fit = FitSettings(bound=settings.strain, zero=settings.zero)
    return PowderData(radiation, settings, grid, values, below, stages(measured, fit), fit)


def refuse_large_s(two_theta: float, radiation: Radiation) -> None:
    """Raise `BadInput` if X-ray data reach to an angle (degrees) beyond the range of the form factors."""
    s = np.sin(np.radians(two_theta / 2)) / radiation.wavelength
    if not radiation.neutron and s > LARGEST_S * (1 + 1e-9):
        last = 2 * np.degrees(np.arcsin(LARGEST_S * radiation.wavelength))
        raise BadInput(
            f"the powder pattern reaches sin(theta)/wavelength = {s:.2f} 1/Å; X-ray form factors are known up to {LARGEST_S:g}: "
            f"cut the data at 2 theta = {np.floor(10 * last) / 10:.1f}"
        )


def uniform(positions: np.ndarray, values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres of bins of width `step` or slightly less and the mean of a piecewise linear curve in each.

    Raises:
        BadInput: the bins are fewer than `FEWEST_POINTS` or more than `MOST_POINTS`.
    """
    span = float(positions[-1] - positions[0])
    bins = int(np.ceil(span / step - 1e-9))
    if not FEWEST_POINTS <= bins <= MOST_POINTS:
        raise BadInput(
            f"the data span {span:g} (from {positions[0]:g} to {positions[-1]:g}), which is {bins} steps of {step:.3g}; "
            f"{FEWEST_POINTS} to {MOST_POINTS} are supported: change the width of the comparison or the range of the data"
        )
    edges = np.linspace(positions[0], positions[-1], bins + 1)
    # The integral of a piecewise linear curve: whole intervals, and the part of the interval in which an edge lies.
    pieces = np.concatenate([[0.0], np.cumsum(np.diff(positions) * (values[1:] + values[:-1]) / 2)])
    k = np.clip(np.searchsorted(positions, edges, "right") - 1, 0, len(positions) - 2)
    t = edges - positions[k]
    slope = (values[k + 1] - values[k]) / (positions[k + 1] - positions[k])
    integral = pieces[k] + t * (values[k] + slope * t / 2)
    return (edges[1:] + edges[:-1]) / 2, np.diff(integral) / np.diff(edges)


@dataclass(frozen=True)
class PowderLines:
    """Reflections of a crystal as lines in 2 theta, for `variable_cell`.

    Attributes:
        found: the reflections.
        radiation: X-rays or neutrons.
    """

    found: Reflections
    radiation: Radiation
    sense: int = field(default=-1, init=False)

    @property
    def vectors(self) -> np.ndarray:
        """(k, 3) reciprocal vectors, 1/Å."""
        return self.found.vectors

    @property
    def strains(self) -> np.ndarray:
        """(d, 3, 3) allowed strains."""
        return self.found.strains

    def place(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return 2 theta in degrees, integrated intensities and d(2 theta)/d(1/d).

        Where Bragg's law has no solution, the first two are NaN and the last is 0.
        """
        sine = lengths * self.radiation.wavelength / 2
        sine = np.where(sine < 0.9999, sine, np.nan)
        cosine = np.sqrt(1 - sine**2)
        area = self.found.strengths * self.radiation.lorentz_polarisation(sine, cosine)
        slope = np.nan_to_num(np.degrees(self.radiation.wavelength) / cosine)
        return np.degrees(2 * np.arcsin(sine)), area, slope

    def background(self, measured: Measured, volumes: np.ndarray) -> None:
        """Return None: the background is removed from the measurement."""
        return None


def powder_lines(atoms: Atoms, data: PowderData, symmetry: bool = True) -> PowderLines:
    """Return the reflections of a crystal in the range of a measured pattern.

    Args:
        atoms: crystal, periodic in three directions.
        data: the measured pattern.
        symmetry: whether strains keep the symmetry of the crystal.

    Raises:
        BadInput: the crystal has too many reflections, or an element scatters by an unknown amplitude.
    """
    return PowderLines(reflections(atoms, data.radiation, data.largest, data.settings.b_iso, symmetry), data.radiation)


def similarity(candidates: Sequence[Atoms], data: PowderData) -> np.ndarray:
    """Return the similarity (n,) of crystals in their own cells to a measured pattern, at the best shift of the zero; 0 to 1.

    Raises:
        BadInput: as for `powder_lines`.
    """
    level, zero = data.levels[-1], data.fit.zero
    return np.array([plain_similarity(powder_lines(atoms, data), level, zero)[0] for atoms in candidates])


def fit_powder(atoms: Atoms, data: PowderData, symmetry: bool = True, progress: Progress = silent) -> CellFit:
    """Return the similarity of a crystal to a measured pattern in its own and in the best strained cell.

    Args:
        atoms: crystal, periodic in three directions.
        data: the measured pattern.
        symmetry: whether strains keep the symmetry of the crystal.
        progress: called with a `Step` of each stage, see `fit_cell`.

    Raises:
        BadInput: as for `powder_lines`.
    """
    guess = None
    if not symmetry:
        within = fit_powder(atoms, data, progress=progress)
        guess = replace(within, strain=turned(atoms, within.strain))
    return fit_cell(powder_lines(atoms, data, symmetry), data.levels, data.fit, guess, progress)


def calculated(atoms: Atoms, data: PowderData, strain: np.ndarray, zero: float, symmetry: bool = True) -> np.ndarray:
    """Return the broadened pattern (n,) of a strained crystal on the grid of a measured one, scaled to it by least squares.

    Args:
        atoms: crystal, periodic in three directions.
        data: the measured pattern.
        strain: (3, 3) logarithmic strain.
        zero: shift of the zero, degrees.
        symmetry: as for the fit that found the strain.

    Raises:
        BadInput: as for `powder_lines`.
    """
    lines = powder_lines(atoms, data, symmetry)
    curve = data.levels[-1].curve(strained_curve(lines, data.levels[-1], strain, zero))
    clean = data.counts - data.background
    scale = max(float(curve @ clean), 0.0) / max(float(curve @ curve), 1e-300)
    scaled: np.ndarray = scale * curve
    return scaled
