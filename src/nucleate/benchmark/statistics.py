"""Expected number of calls until a hit, and success rates, with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

LIMITS = (50, 100, 200, 300)
"""Numbers of calls for which the success rate is given."""
DRAWS = 1000
"""Number of bootstrap samples."""


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % confidence interval of a proportion.

    E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927), doi 10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def expected_calls(trials: Sequence[tuple[int, bool]]) -> float | None:
    """Return the expected running time (ERT), the total calls divided by the total hits; None without a hit."""
    hits = sum(hit for _, hit in trials)
    return sum(calls for calls, _ in trials) / hits if hits else None


def interval(n: int, estimate: Callable[[np.ndarray], float | None]) -> list[float | None]:
    """Return the 95 % bootstrap interval of an estimate over n units; an infinite end is None.

    A sample without an estimate, which has no hit, counts as infinite.
    """
    rng = np.random.default_rng(0)
    estimates = [estimate(rng.integers(n, size=n)) for _ in range(DRAWS)]
    values = np.sort([np.inf if value is None else value for value in estimates])
    ends = [float(values[int(q * (DRAWS - 1))]) for q in (0.025, 0.975)]
    return [end if math.isfinite(end) else None for end in ends]


def by_energy(trials: Sequence[tuple[int, bool]]) -> dict[str, Any]:
    """Summarise trials by the energy definition of a hit: hits, ERT and its interval."""
    ert = expected_calls(trials)
    return {
        "hits": sum(hit for _, hit in trials),
        "ert": ert,
        "ert_at_least": sum(calls for calls, _ in trials) / 3 if ert is None else ert,
        "interval": interval(len(trials), lambda drawn: expected_calls([trials[k] for k in drawn])),
    }


def search_summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise searches by ERT and success rates.

    Args:
        runs: results of the seeds, with `first` and `first_low` (calls until a hit by each definition, or None), `calls` and `seconds`.
    """
    hits = [run["first"] for run in runs if run["first"] is not None]
    trials = [(run["calls"], run["first"] is not None) for run in runs]
    low = [(run["calls"] if run["first_low"] is None else run["first_low"], run["first_low"] is not None) for run in runs]
    success = {}
    for limit in LIMITS:
        count = sum(first <= limit for first in hits)
        success[str(limit)] = {"share": count / len(runs), "interval": wilson(count, len(runs))}
    return {
        "seeds": len(runs),
        "hits": len(hits),
        "ert": expected_calls(trials),
        "interval": interval(len(trials), lambda drawn: expected_calls([trials[k] for k in drawn])),
        "low": by_energy(low),
        "median_first": float(np.median(hits)) if hits else None,
        "success": success,
        "seconds": sum(run["seconds"] for run in runs),
        "runs": list(runs),
    }


def random_summary(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Summarise a random search by its ERT, or a lower bound of it if there is no hit.

    Args:
        cells: results of the relaxed cells, with `calls`, `hit` and `low`.
    """
    trials = [(cell["calls"], cell["hit"]) for cell in cells]
    calls = sum(cost for cost, _ in trials)
    ert = expected_calls(trials)
    return {
        "cells": len(cells),
        "calls": calls,
        "hits": sum(hit for _, hit in trials),
        "ert": ert,
        # Without a hit in n cells the rate is below 3/n with 95 % confidence (rule of three).
        "ert_at_least": calls / 3 if ert is None else ert,
        "interval": interval(len(trials), lambda drawn: expected_calls([trials[k] for k in drawn])),
        "low": by_energy([(cell["calls"], cell["low"]) for cell in cells]),
    }


def pretrained_summary(order: Sequence[int], cells: int, confirmed: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Summarise the confirmation of cells that were relaxed by a pretrained potential, lowest energy first.

    Args:
        order: distinct relaxed cells, lowest energy first.
        cells: number of relaxed cells.
        confirmed: `calls`, `hit` and `low` of the confirmed cells of `order`.
    """

    def spent(mine: Sequence[int], definition: str) -> tuple[int, bool]:
        """Return the calls until the first hit, and whether there was one."""
        calls = 0
        for k in mine:
            calls += confirmed[k]["calls"]
            if confirmed[k][definition]:
                return calls, True
        return calls, False

    known = [k for k in order if k in confirmed]
    calls, hit = spent(known, "hit")
    low_calls, low = spent(known, "low")
    return {
        "cells": cells,
        "confirmed": len(known),
        "calls": calls,
        "hits": int(hit),
        "ert": float(calls) if hit else None,
        "ert_at_least": float(calls),
        "low": {"hits": int(low), "ert": float(low_calls) if low else None, "ert_at_least": float(low_calls), "interval": None},
        "rank": next((place + 1 for place, k in enumerate(known) if confirmed[k]["hit"]), None),
    }


def span(values: Sequence[float], digits: int) -> str:
    """Return the lowest and highest value with some digits, such as `3 to 7`, or one of them if they are equal."""
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"
