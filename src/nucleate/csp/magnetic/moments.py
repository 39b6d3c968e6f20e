"""Order of the final moments of a calculation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucleate.reference.base import Label

VANISHED = 0.2
"""Mean absolute moment of the magnetic atoms below which a crystal is not magnetic, Bohr magnetons."""
NM, FM, FIM, OTHER = "NM", "FM", "FiM", "other"
"""Orders without moments, with parallel ones, with starting moments of both signs, and with signs that are not those of the start."""


class FinalMoments(NamedTuple):
    """Final moments: the order, the mean absolute moment of a magnetic atom and that of the cell per atom, in Bohr magnetons."""

    order: str
    moment: float
    net: float


def final_moments(label: Label, start: np.ndarray, name: str) -> FinalMoments | None:
    """Return the order in which a calculation ended; None if the label has no moments.

    Args:
        label: result of the reference, with `moments` (and `total_moment`) in its details.
        start: (n_atoms,) starting moments, Bohr magnetons; atoms without one are not magnetic atoms.
        name: name of the order of the starting moments.
    """
    given = label.details.get("moments")
    sites = np.abs(start) > 0
    if not isinstance(given, list) or len(given) != len(start) or not sites.any():
        return None
    moments = np.asarray(given, dtype=float)
    total = label.details.get("total_moment")
    net = abs(float(moments.sum() if total is None else total)) / len(start)
    own = moments[sites]
    mean = float(np.abs(own).mean())
    # Of one sign: all moments have the sign of the start, or all have the other one.
    along = own * np.sign(start[sites])
    if mean < VANISHED:
        order = NM
    elif (along > 0).all() or (along < 0).all():
        order = name
    else:
        order = FM if (own > 0).all() or (own < 0).all() else OTHER
    return FinalMoments(order, mean, net)


def start_of(symbols: list[str], moments: dict[str, float]) -> tuple[np.ndarray, str]:
    """Return (n_atoms,) starting moments by element, Bohr magnetons, and the name of their order."""
    start = np.array([moments.get(symbol, 0.0) for symbol in symbols])
    return start, FIM if start.min(initial=0) < 0 < start.max(initial=0) else FM
