"""Ranking of the lowest polymorphs with converged sampling: single points with the preset `accurate`, in a ledger of their own.

The energies of different crystals have different errors from k-points and cutoff, so that polymorphs a few meV/atom apart may change their
order when the sampling is converged. The lowest polymorphs are calculated once more at their relaxed geometry. Where the order of two of
them changes by more than the resolution, both are relaxed again with the accurate settings.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from nucleate.csp.records import Polymorph, enthalpy_per_atom
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.reference.base import Label
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

WINDOW = 0.030
"""Largest energy above the lowest polymorph, eV/atom."""
MOST = 5
"""Largest number of polymorphs."""


def candidates(minima: list[Polymorph]) -> list[Polymorph]:
    """Return the polymorphs whose order is to be decided: the lowest ones within `WINDOW`; none if there is only one."""
    near = [polymorph for polymorph in minima[:MOST] if polymorph.energy <= minima[0].energy + WINDOW]
    return near if len(near) > 1 else []


def rank_accurately(polymorphs: list[Polymorph], dispatcher: Dispatcher, settings: RelaxSettings, resolution: float) -> dict[str, Any]:
    """Calculate the accurate energies of polymorphs.

    Args:
        polymorphs: polymorphs, whose `accurate` is set (eV/atom). If one of the single points fails, none is set, because energies of
            both kinds cannot be ordered together.
        dispatcher: runs the accurate reference, with a ledger of its own.
        settings: settings of the relaxations, with the pressure (GPa).
        resolution: difference in eV/atom below which two polymorphs are degenerate.

    Returns:
        `calls`, `failed`, `core_seconds`, `relaxed` (number of polymorphs that were relaxed again) and `ranked` (whether the accurate
        energies decide the order).
    """
    answers = dispatcher.label_many([polymorph.atoms for polymorph in polymorphs], "accurate", 0)
    labels = [answer if isinstance(answer, Label) else None for answer in answers]
    ranked = all(label is not None for label in labels)
    for polymorph, label in zip(polymorphs, labels, strict=True):
        polymorph.accurate = enthalpy_per_atom(polymorph.atoms, label, settings.pressure) if ranked and label is not None else None
    again = reordered(polymorphs, resolution)
    for polymorph in again:
        try:
            (end,) = relax([polymorph.atoms], ReferencePotential(dispatcher, "accurate", 0), settings)
            if end.stop == "converged":
                polymorph.accurate = end.energy_per_atom
        except (ReferenceFailed, BudgetExhausted):
            # The single point remains the accurate energy.
            continue
    rows = list(dispatcher.ledger.rows())
    return {
        "calls": dispatcher.ledger.count(),
        "failed": sum(row.label is None for row in rows),
        "core_seconds": sum(row.core_seconds for row in rows),
        "relaxed": len(again),
        "ranked": ranked,
    }


def reordered(polymorphs: list[Polymorph], resolution: float) -> list[Polymorph]:
    """Return the polymorphs of all pairs whose order changes from standard to accurate energies, and whose change exceeds `resolution`."""
    again = []
    for one, other in combinations(polymorphs, 2):
        if one.accurate is None or other.accurate is None:
            continue
        before, after = one.energy - other.energy, one.accurate - other.accurate
        if before * after < 0 and abs(after - before) > resolution:
            again += [polymorph for polymorph in (one, other) if polymorph not in again]
    return again
