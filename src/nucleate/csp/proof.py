"""Proof: relaxation of the best polymorphs on the reference alone, without the committee."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nucleate.csp.records import Polymorph
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.reference.dispatch import Dispatcher
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings


def on_reference(settings: RunSettings) -> RelaxSettings:
    """Return the settings of relaxations on the reference alone, with the tolerances of the search."""
    search = settings.search
    return settings.relax.model_copy(
        update={
            "fmax": search.fmax, "smax": search.smax, "max_steps": search.proof_steps, "patience": search.proof_steps,
            "pressure": settings.pressure, "sigma_stop": None, "keep_symmetry": False,
        }
    )  # fmt: skip


def prove(winner: Polymorph, dispatcher: Dispatcher, settings: RelaxSettings, round: int) -> dict[str, Any]:
    """Relax a polymorph on the reference alone, from the geometry of its first label.

    Args:
        winner: the polymorph.
        dispatcher: runs the reference calculations.
        settings: settings of the relaxation, with the pressure (GPa).
        round: round of the search to which the calls belong.

    Returns:
        `stop` (why the relaxation ended, or the reason of a failure), `energy` and `difference` from the polymorph's energy (eV/atom, None
        after a failure), `steps`, and `calls`.
    """
    before = dispatcher.calls()
    energy = difference = steps = None
    try:
        (end,) = relax([winner.start], ReferencePotential(dispatcher, "proof", round), settings)
        stop, energy, difference, steps = end.stop, end.energy_per_atom, end.energy_per_atom - winner.energy, end.steps
    except (ReferenceFailed, BudgetExhausted) as failure:
        stop = str(failure)
    return {"stop": stop, "energy": energy, "difference": difference, "steps": steps, "calls": dispatcher.calls() - before}


def worst(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of several proofs with the largest difference, or a failed one, with the steps and calls of all."""
    found = max(results, key=lambda result: math.inf if result["difference"] is None else abs(result["difference"]))
    steps = None if found["steps"] is None else sum(result["steps"] or 0 for result in results)
    return {**found, "steps": steps, "calls": sum(result["calls"] for result in results)}
