"""Powder patterns of crystals, and their similarity to a measured one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from nucleate.observables.correlation import Measured, Profile, binned
from nucleate.observables.radiation import Radiation
from nucleate.observables.reflections import Reflections, reflections
from nucleate.observables.variable_cell import CellFit, FitSettings, fit_cell, plain_similarity, stages


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
        """Return 2 theta in degrees, integrated intensities and d(2 theta)/d(1/d); NaN where Bragg's law has no solution."""
        sine = lengths * self.radiation.wavelength / 2
        theta = np.arcsin(np.where(sine < 0.9999, sine, np.nan))
        position = np.degrees(2 * theta)
        area = self.found.strengths * self.radiation.lorentz_polarisation(position)
        return position, area, np.degrees(self.radiation.wavelength / np.cos(theta))

    def background(self, measured: Measured, volumes: np.ndarray) -> None:
        """Return None: the background is removed from the measurement."""
        return None
