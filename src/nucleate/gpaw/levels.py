"""Band gap of a finished GPAW calculation."""

from __future__ import annotations

from typing import Any

import numpy as np


def band_gap(calculator: Any) -> float | None:
    """Return the band gap over all k-points and spins, eV; zero if a band crosses the Fermi level.

    The result is None if there is no single Fermi level or no empty band, so that an unknown gap does not make a label fail.
    """
    try:
        fermi = float(calculator.get_fermi_level())
    except (TypeError, ValueError):
        return None
    spins, points = calculator.get_number_of_spins(), len(calculator.get_ibz_k_points())
    levels = np.array([calculator.get_eigenvalues(kpt=k, spin=s) for s in range(spins) for k in range(points)])
    # If the number of occupied bands depends on the k-point, a band crosses the Fermi level.
    counts = (levels < fermi).sum(axis=1).reshape(spins, points)
    if (counts != counts[:, :1]).any():
        return 0.0
    if counts.min() == 0 or counts.max() == levels.shape[1]:
        return None
    return float(levels[levels >= fermi].min() - levels[levels < fermi].max())
