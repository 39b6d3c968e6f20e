"""Calculated powder patterns for the page."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.observables.powder import PowderLines, PowderSettings
from nucleate.observables.radiation import LARGEST_S, radiation
from nucleate.observables.reflections import reflections

RANGE = (5.0, 90.0)
"""Range of 2 theta, degrees."""
STEP = 0.025
"""Step of 2 theta, degrees."""
REACH = 3.0
"""Half the width in which the profile of a line is computed, degrees."""
MARKED = 40
"""Largest number of lines that are listed."""


def powder_pattern(atoms: Atoms, wavelength: str = "CuKa") -> dict[str, Any]:
    """Return the X-ray powder pattern of a crystal, with pseudo-Voigt lines as in `nucleate match`.

    Args:
        atoms: crystal, periodic in three directions.
        wavelength: wavelength in Å, or the name of an X-ray line.

    Returns:
        `wavelength` (Å), `two_theta` (degrees), `intensity` (largest value 100), `lines`: `two_theta`, `d` (Å) and `intensity` of the
        strongest lines, in the order of their angles.

    Raises:
        BadInput: the structure is not periodic in three directions, has too many reflections, or has an element without form factor.
    """
    if not atoms.pbc.all():
        raise BadInput("a powder pattern needs a crystal that is periodic in three directions")
    rays, settings = radiation(wavelength), PowderSettings()
    # X-ray form factors end at some sin(theta)/wavelength, which short wavelengths reach inside of the range.
    last = min(RANGE[1], 2 * float(np.degrees(np.arcsin(min(LARGEST_S * rays.wavelength, 1.0)))))
    largest = 2 * np.sin(np.radians(last / 2)) / rays.wavelength
    found = PowderLines(reflections(atoms, rays, float(largest), settings.b_iso), rays)
    lengths = np.linalg.norm(found.vectors, axis=1)
    angles, areas, _ = found.place(lengths)
    inside = np.isfinite(angles) & (angles > RANGE[0]) & (angles < last)
    angles, areas, lengths = angles[inside], areas[inside], lengths[inside]
    grid = np.arange(RANGE[0], last + STEP / 2, STEP)
    # Each line is shared out between its two neighbouring points, and all are broadened together.
    place = (angles - RANGE[0]) / STEP
    left = np.clip(place.astype(int), 0, len(grid) - 2)
    comb = np.bincount(left, areas * (1 - (place - left)), len(grid)) + np.bincount(left + 1, areas * (place - left), len(grid))
    curve = np.convolve(comb, _profile(0.15 * rays.wavelength / 1.5406, settings.lorentz), "same")
    top = max(float(curve.max()), 1e-300)
    strong = np.sort(np.argsort(-areas)[:MARKED])
    strong = strong[np.argsort(angles[strong])]
    biggest = max(float(areas.max(initial=0.0)), 1e-300)
    return {
        "wavelength": rays.wavelength,
        "two_theta": grid.round(4).tolist(),
        "intensity": (100 * curve / top).round(3).tolist(),
        "lines": [
            {
                "two_theta": round(float(angles[k]), 4),
                "d": round(float(1 / lengths[k]), 5),
                "intensity": round(float(100 * areas[k] / biggest), 2),
            }
            for k in strong
        ],
    }


def _profile(fwhm: float, lorentz: float) -> np.ndarray:
    """Return a pseudo-Voigt profile of odd length on the grid."""
    x = np.arange(-round(REACH / STEP), round(REACH / STEP) + 1) * STEP / (fwhm / 2)
    profile: np.ndarray = lorentz / (1 + x**2) + (1 - lorentz) * np.exp(-np.log(2) * x**2)
    return profile
