"""The units of a benchmark: one search, one random cell, one cell relaxed by a pretrained potential.

A call is one reference calculation; training labels, confirmations, relaxation steps and failures all count.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.benchmark.targets import Target
from nucleate.csp.loop import Search
from nucleate.csp.plan import prepare
from nucleate.csp.records import Polymorph, atoms_to_dict
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.generate import make_generator
from nucleate.persist.toml import to_toml
from nucleate.reference import Dispatcher, Ledger, ReferenceSettings, make_reference
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

CONVERGED = RelaxSettings(fmax=0.02, smax=0.1, max_steps=500, patience=100)
"""Baseline relaxations: L-BFGS on the reference, the search's own tolerances."""


@dataclass(frozen=True)
class SeedResult:
    """Result of the search with one seed.

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


def trial_settings(system: str, reference: str, seed: int, budget: int, overrides: dict[str, Any]) -> RunSettings:
    """Return the settings of one search: given values, then defaults; without the proof, which comes after the hit.

    Raises:
        BadInput: settings or an engine that do not exist.
    """
    data = {**json.loads(json.dumps(overrides)), "formula": system, "seed": seed}
    data.setdefault("reference", {})["engine"] = reference
    data.setdefault("search", {}).update(budget=budget, proof=False)
    data.setdefault("generate", {}).setdefault("workers", 1)
    return settings_from_dict(data, "benchmark settings")


def search_trial(settings: RunSettings, target: Target) -> SeedResult:
    """Run one search until its first confirmed hit."""
    warnings.simplefilter("ignore")
    started = time.monotonic()
    hits: list[int] = []

    def ends_search(polymorph: Polymorph) -> bool:
        if target.hit(polymorph.atoms, polymorph.energy):
            hits.append(polymorph.calls)
        return bool(hits)

    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        state = Search(run, prepare(settings), ends_search=ends_search).run()
        calls = run.ledger.count()
    energies = sorted(polymorph.energy for polymorph in state.polymorphs)
    return SeedResult(
        settings.seed,
        hits[0] if hits else None,
        hits[0] if hits else calls,
        time.monotonic() - started,
        float(energies[0]) if energies else None,
        "hit" if hits else str(state.finished),
        [float(e) for e in energies if e < target.energy - 0.005],
    )


@dataclass(frozen=True)
class CellResult:
    """One relaxed random cell.

    Attributes:
        calls: reference calls it cost.
        hit: whether it became the target.
    """

    calls: int
    hit: bool


@dataclass(frozen=True)
class PretrainedCell:
    """A random cell relaxed by a pretrained potential, or None in place of `atoms` where that failed.

    Attributes:
        energy: of the pretrained potential, eV/atom.
        atoms: as `records.atoms_to_dict`.
    """

    energy: float
    atoms: dict[str, Any] | None


def random_trial(settings: RunSettings, seed: int, share: float, target: Target) -> CellResult:
    """Relax one random candidate on the reference.

    Args:
        settings: of the searches this stands beside.
        seed: of the candidate.
        share: of symmetric candidates: 1 symmetric, 0 P1.
        target: what counts.
    """
    return confirm_trial(settings, _random_cell(settings, seed, share), target)


def confirm_trial(settings: RunSettings, atoms: Atoms, target: Target) -> CellResult:
    """Relax one structure on the reference."""
    warnings.simplefilter("ignore")
    with dispatching(settings.reference) as dispatcher:
        try:
            (end,) = relax([atoms], ReferencePotential(dispatcher, "relax", 0), _converged(settings))
            hit = end.stop == "converged" and target.hit(end.atoms, end.energy_per_atom)
        except (ReferenceFailed, BudgetExhausted):
            hit = False
        return CellResult(dispatcher.ledger.count(), hit)


def pretrained_trial(settings: RunSettings, potential: str, seed: int) -> PretrainedCell:
    """Relax one random symmetric candidate on a pretrained potential, at no reference call."""
    warnings.simplefilter("ignore")
    with dispatching(ReferenceSettings.model_validate({"engine": potential})) as dispatcher:
        try:
            (end,) = relax([_random_cell(settings, seed, 1.0)], ReferencePotential(dispatcher, "relax", 0), _converged(settings))
        except ReferenceFailed:
            return PretrainedCell(float("inf"), None)
        if not end.usable:
            return PretrainedCell(float("inf"), None)
        return PretrainedCell(end.energy_per_atom, atoms_to_dict(end.atoms))


def _converged(settings: RunSettings) -> RelaxSettings:
    return CONVERGED.model_copy(update={"pressure": settings.pressure})


def _random_cell(settings: RunSettings, seed: int, share: float) -> Atoms:
    generation = settings.generate.model_copy(update={"symmetric_share": share, "workers": 1})
    generator = make_generator(settings.counts, generation)
    (candidate,) = generator.propose(1, np.random.default_rng([seed, 4711]))
    return candidate.atoms


@contextmanager
def dispatching(settings: ReferenceSettings) -> Iterator[Dispatcher]:
    """Context with a dispatcher whose ledger is temporary."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        yield Dispatcher(make_reference(settings), ledger)
