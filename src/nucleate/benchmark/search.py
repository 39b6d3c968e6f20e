"""Calls to the first confirmed hit, seed by seed, and the baselines with the same generator in the same run.

A call is one reference calculation; training labels, confirmations, relaxation steps and failures all count.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.targets import Target, relaxed_target
from nucleate.crystals.formula import parse_formula
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.generate import make_generator
from nucleate.generate.settings import GenerateSettings
from nucleate.potentials.base import Potential
from nucleate.reference import Dispatcher, Ledger, ReferenceSettings, make_reference
from nucleate.reference.dispatch import limit_threads
from nucleate.relax.batched import relax
from nucleate.relax.settings import RelaxSettings
from nucleate.search.loop import Search
from nucleate.search.records import Polymorph
from nucleate.search.reference_surface import ReferencePotential
from nucleate.search.run_folder import RunFolder
from nucleate.settings import settings_from_dict, to_toml

CONVERGED = RelaxSettings(fmax=0.02, smax=0.1, max_steps=500, patience=100)
"""Baseline relaxations: L-BFGS on the reference, the search's own tolerances."""


@dataclass(frozen=True)
class SeedResult:
    """One seed.

    Attributes:
        seed: of the run.
        first: calls until the confirmed hit; None without a hit.
        calls: all calls until the hit or the end.
        seconds: wall time.
        best: lowest confirmed energy, eV/atom.
        ended: why it ended.
        lower: energies of structures confirmed more than 5 meV/atom below the target: to be looked at.
    """

    seed: int
    first: int | None
    calls: int
    seconds: float
    best: float | None
    ended: str
    lower: list[float]


def search_seed(system: str, reference: str, seed: int, budget: int, overrides: dict[str, Any], target: Target) -> SeedResult:
    """One search, ended at its first confirmed hit."""
    warnings.simplefilter("ignore")
    started = time.monotonic()
    data = {"formula": system, "seed": seed, **json.loads(json.dumps(overrides))}
    data.setdefault("reference", {})["engine"] = reference
    data.setdefault("search", {}).update(budget=budget, proof=False)
    data.setdefault("generate", {}).setdefault("workers", 1)
    settings = settings_from_dict(data, "benchmark settings")
    hits: list[int] = []

    def told(polymorph: Polymorph) -> bool:
        if target.hit(polymorph.atoms, polymorph.energy):
            hits.append(polymorph.calls)
        return bool(hits)

    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        state = Search(run, settings, on_polymorph=told).run()
        calls = run.ledger.count()
    energies = sorted(polymorph.energy for polymorph in state.polymorphs)
    return SeedResult(
        seed,
        hits[0] if hits else None,
        hits[0] if hits else calls,
        time.monotonic() - started,
        float(energies[0]) if energies else None,
        "hit" if hits else str(state.finished),
        [float(e) for e in energies if e < target.energy - 0.005],
    )


def random_cell(system: str, reference: str, seed: int, share: float, target: Target, first: Potential | None = None) -> tuple[int, bool]:
    """Relax one random candidate on the reference: (calls, hit).

    Args:
        system, reference: what is searched, on what.
        seed: of the candidate.
        share: of symmetric candidates: 1 symmetric, 0 P1.
        target: what counts.
        first: a pretrained potential that relaxes the candidate beforehand, at no call.
    """
    warnings.simplefilter("ignore")
    settings = GenerateSettings(symmetric_share=share, workers=1)
    generator = make_generator(parse_formula(system), settings)
    (candidate,) = generator.propose(1, np.random.default_rng([seed, 4711]))
    atoms = candidate.atoms
    with tempfile.TemporaryDirectory() as folder:
        dispatcher = Dispatcher(make_reference(ReferenceSettings.model_validate({"engine": reference})), Ledger(Path(folder) / "ledger.db"))
        try:
            if first is not None:
                (before,) = relax([atoms], first, CONVERGED)
                if before.stop in ("exploded", "collapsed"):
                    return 0, False
                atoms = before.atoms
            (end,) = relax([atoms], ReferencePotential(dispatcher, "relax", 0), CONVERGED)
            return dispatcher.ledger.count(), end.stop == "converged" and target.hit(end.atoms, end.energy_per_atom)
        except (ReferenceFailed, BudgetExhausted):
            return dispatcher.ledger.count(), False


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share: E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927), doi 10.1080/01621459.1927.10502953."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def summary(results: list[SeedResult]) -> dict[str, Any]:
    """ERT, S(50), S(100), S(200), S(300) with Wilson intervals, and the seeds themselves."""
    hits = [result.first for result in results if result.first is not None]
    calls = sum(result.calls for result in results)
    success = {}
    for limit in (50, 100, 200, 300):
        count = sum(first <= limit for first in hits)
        success[str(limit)] = {"share": count / len(results), "interval": wilson(count, len(results))}
    return {
        "seeds": len(results),
        "hits": len(hits),
        "ert": calls / len(hits) if hits else None,
        "median_first": float(np.median(hits)) if hits else None,
        "success": success,
        "seconds": sum(result.seconds for result in results),
        "runs": [asdict(result) for result in results],
    }


def baseline_summary(cells: list[tuple[int, bool]]) -> dict[str, Any]:
    """ERT of random search from one pool of relaxed cells, with a bootstrap over orders; a lower bound where nothing hit."""
    calls = sum(cost for cost, _ in cells)
    hits = sum(hit for _, hit in cells)
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(1000):
        drawn = rng.integers(len(cells), size=len(cells))
        found = sum(cells[k][1] for k in drawn)
        if found:
            ratios.append(sum(cells[k][0] for k in drawn) / found)
    return {
        "cells": len(cells),
        "calls": calls,
        "hits": hits,
        "ert": calls / hits if hits else None,
        # With no hit in n cells the rate is below 3/n at 95 % (rule of three).
        "ert_at_least": calls / hits if hits else calls / 3,
        "interval": [float(np.quantile(ratios, q)) for q in (0.025, 0.975)] if len(ratios) > 100 else None,
    }


def benchmark(
    system: str,
    reference: str,
    seeds: list[int],
    budget: int,
    overrides: dict[str, Any] | None = None,
    baseline_cells: int = 0,
    workers: int = 2,
    on_done: Callable[[str, Any], None] | None = None,
) -> dict[str, Any]:
    """The whole benchmark of one system.

    Args:
        system: formula.
        reference: engine that is the reference.
        seeds: one search each.
        budget: calls a search may spend.
        overrides: settings of the search, as in run.toml.
        baseline_cells: cells relaxed for each random-search baseline.
        workers: processes.
        on_done: called with (what, result) as parts finish.
    """
    with tempfile.TemporaryDirectory() as folder:
        dispatcher = Dispatcher(make_reference(ReferenceSettings.model_validate({"engine": reference})), Ledger(Path(folder) / "ledger.db"))
        target = relaxed_target(system, dispatcher)
    report: dict[str, Any] = {
        "system": system,
        "reference": reference,
        "target": {"energy": target.energy, "space_group": target.symbol},
        "settings": overrides or {},
    }
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=limit_threads) as pool:
        runs = [pool.submit(search_seed, system, reference, s, budget, overrides or {}, target) for s in seeds]
        random = {
            name: [pool.submit(random_cell, system, reference, k, share, target) for k in range(baseline_cells)]
            for name, share in (("random_symmetric", 1.0), ("random_p1", 0.0))
        }
        results = []
        for future in runs:
            results.append(future.result())
            if on_done is not None:
                on_done("seed", asdict(results[-1]))
        report["nucleate"] = summary(results)
        for name, futures in random.items():
            if futures:
                report[name] = baseline_summary([future.result() for future in futures])
                if on_done is not None:
                    on_done(name, report[name])
                ert = report["nucleate"]["ert"]
                report[name]["ratio"] = report[name]["ert_at_least"] / ert if ert else None
    return report
