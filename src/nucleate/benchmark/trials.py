"""Units of a benchmark: a search, a random cell, or a cell relaxed by a pretrained potential.

A call is one reference calculation, including training labels, confirmations, relaxation steps and failures. A calculation that GPAW
repeated, with slower mixing or without point-group symmetry, counts as two.
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

from nucleate.benchmark.targets import HIT_ENERGY, Target
from nucleate.csp.atoms_data import atoms_to_dict
from nucleate.csp.leads import NEARLY_SYMMETRIC
from nucleate.csp.plan import prepare
from nucleate.csp.records import Polymorph
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import RunSettings, settings_from_dict
from nucleate.csp.stages import run_search
from nucleate.errors import BudgetExhausted, ReferenceFailed
from nucleate.fingerprints.matching import symmetrised
from nucleate.generate import make_generator
from nucleate.persist.toml import to_toml
from nucleate.reference import Dispatcher, Ledger, Reference, make_reference
from nucleate.reference.surrogates import pretrained_reference
from nucleate.relax.batched import Relaxed, relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

CONVERGED = RelaxSettings(fmax=0.02, smax=0.1, max_steps=500, patience=100)
"""Settings of the baseline relaxations: L-BFGS on the reference with the tolerances of the search."""
ALMOST_EQUAL = 1e-3
"""Energy in eV/atom by which a symmetrised structure may be higher, as in the search."""


@dataclass(frozen=True)
class SeedResult:
    """Result of the search with one seed.

    Attributes:
        seed: random seed of the search.
        first: number of calls until the named crystal is confirmed; None without a hit.
        first_low: number of calls until a structure within 5 meV/atom of the lowest known energy is confirmed; None without one.
        calls: number of calls until the named crystal or the end.
        seconds: wall time, s.
        best: lowest confirmed energy, eV/atom.
        ended: why the search ended.
        core_seconds: core time of the reference calls, s.
        teacher_evaluations: number of evaluations of the teacher; 0 without one.
        teacher_core_seconds: core time of these evaluations, s.
        teacher_seconds: wall time of the search on the teacher, s.
        origin: generator or operator of the candidate that became the hit; None without a hit.
        cpu_seconds: processor time of the search, s, of this process alone.
        lower: energies of structures confirmed more than 5 meV/atom below the lowest known energy: a new ground state.
    """

    seed: int
    first: int | None
    first_low: int | None
    calls: int
    seconds: float
    best: float | None
    ended: str
    lower: list[float]
    core_seconds: float = 0.0
    teacher_evaluations: int = 0
    teacher_core_seconds: float = 0.0
    teacher_seconds: float = 0.0
    origin: str | None = None
    cpu_seconds: float = 0.0


def trial_settings(system: str, reference: str, seed: int, budget: int, overrides: dict[str, Any]) -> RunSettings:
    """Return the settings of one search, without the proof, which would follow the hit, and with `top = 5`.

    Raises:
        BadInput: a setting or the engine is unknown.
    """
    data = {**json.loads(json.dumps(overrides)), "formula": system, "seed": seed}
    data.setdefault("reference", {})["engine"] = reference
    data.setdefault("search", {}).update(budget=budget, proof=False, check=False, accurate=False)
    # A trial ends with its hit or its budget; the stopping criterion should rarely end it before.
    data["search"].setdefault("top", 5)
    # Several searches run side by side, each in one process.
    data.setdefault("generate", {}).setdefault("workers", 1)
    # The figures are those of the method without known crystals.
    data["generate"].setdefault("prototype_share", 0.0)
    data.setdefault("relax", {}).setdefault("workers", 1)
    return settings_from_dict(data, "benchmark settings")


def search_trial(settings: RunSettings, target: Target) -> SeedResult:
    """Run one search until its first confirmed hit."""
    warnings.simplefilter("ignore")
    started, cpu = time.monotonic(), time.process_time()
    hits: list[int] = []
    origins: list[str] = []
    low: list[int] = []

    def is_hit(polymorph: Polymorph) -> bool:
        spent = polymorph.calls + repeated(run.ledger, settings.reference.engine)
        if target.low(polymorph.energy):
            low.append(spent)
        if target.hit(polymorph.atoms, polymorph.energy):
            hits.append(spent)
            origins.append(polymorph.origin)
        return bool(hits)

    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        state = run_search(run, prepare(settings), ends_search=is_hit)
        calls = run.ledger.count() + repeated(run.ledger, settings.reference.engine)
        core_seconds = sum(row.core_seconds for row in run.ledger.rows())
        taught = run.teacher()
    energies = sorted(polymorph.energy for polymorph in state.polymorphs)
    return SeedResult(
        settings.seed,
        hits[0] if hits else None,
        low[0] if low else None,
        hits[0] if hits else calls,
        time.monotonic() - started,
        float(energies[0]) if energies else None,
        "hit" if hits else str(state.finished),
        [float(e) for e in energies if e < target.lowest - HIT_ENERGY],
        core_seconds,
        *((0, 0.0, 0.0) if taught is None else (taught.evaluations, taught.core_seconds, taught.seconds)),
        origin=origins[0] if origins else None,
        cpu_seconds=time.process_time() - cpu,
    )


@dataclass(frozen=True)
class CellResult:
    """Result of a relaxed random cell.

    Attributes:
        calls: number of reference calls.
        hit: whether the relaxed structure is the named crystal.
        low: whether its energy is within 5 meV/atom of the lowest known energy.
    """

    calls: int
    hit: bool
    low: bool


@dataclass(frozen=True)
class PretrainedCell:
    """Random cell relaxed by a pretrained potential.

    Attributes:
        energy: energy of the pretrained potential, eV/atom.
        atoms: the structure as returned by `records.atoms_to_dict`; None if the relaxation failed.
    """

    energy: float
    atoms: dict[str, Any] | None


def random_trial(settings: RunSettings, seed: int, share: float, target: Target) -> CellResult:
    """Relax one random candidate on the reference.

    Args:
        settings: settings of the searches with which the result is compared.
        seed: random seed of the candidate.
        share: fraction of symmetric candidates: 1 for a symmetric candidate, 0 for P1.
        target: ground state of the system.
    """
    return confirm_trial(settings, _random_cell(settings, seed, share), target)


def confirm_trial(settings: RunSettings, atoms: Atoms, target: Target) -> CellResult:
    """Relax one structure on the reference and compare it with the target.

    The end point is symmetrised by the rule of the search: where it has a higher symmetry within 0.3 Å, the exactly symmetric structure is
    relaxed as well, and kept unless its energy is higher.
    """
    warnings.simplefilter("ignore")
    with dispatching(make_reference(settings.reference)) as dispatcher:
        hit = low = False
        try:
            end = _relaxed(atoms, dispatcher, settings)
            exact = symmetrised(end.atoms, NEARLY_SYMMETRIC) if end.stop == "converged" else None
            if exact is not None:
                other = _relaxed(exact[0], dispatcher, settings)
                if other.stop == "converged" and other.energy_per_atom < end.energy_per_atom + ALMOST_EQUAL:
                    end = other
            if end.stop == "converged":
                hit, low = target.hit(end.atoms, end.energy_per_atom), target.low(end.energy_per_atom)
        except (ReferenceFailed, BudgetExhausted):
            pass
        return CellResult(dispatcher.ledger.count() + repeated(dispatcher.ledger, settings.reference.engine), hit, low)


def repeated(ledger: Ledger, engine: str) -> int:
    """Return the number of calculations that were made twice: labels with a failed first try, and those that did not converge in two."""
    return sum(
        "first_try" in row.label.details if row.label is not None else row.status == "unconverged" and engine == "gpaw"
        for row in ledger.rows()
    )


def _relaxed(atoms: Atoms, dispatcher: Dispatcher, settings: RunSettings) -> Relaxed:
    """Return the end of a relaxation on the reference with the tolerances of the search."""
    (end,) = relax([atoms], ReferencePotential(dispatcher, "relax", 0), _converged(settings))
    return end


def pretrained_trial(settings: RunSettings, potential: str, seed: int) -> PretrainedCell:
    """Relax one random symmetric candidate on a pretrained potential, without reference calls."""
    warnings.simplefilter("ignore")
    with dispatching(pretrained_reference(potential)) as dispatcher:
        try:
            (end,) = relax([_random_cell(settings, seed, 1.0)], ReferencePotential(dispatcher, "relax", 0), _converged(settings))
        except ReferenceFailed:
            return PretrainedCell(float("inf"), None)
        if not end.usable:
            return PretrainedCell(float("inf"), None)
        return PretrainedCell(end.energy_per_atom, atoms_to_dict(end.atoms))


def _converged(settings: RunSettings) -> RelaxSettings:
    """Return the settings of a baseline relaxation at the pressure of the search."""
    return CONVERGED.model_copy(update={"pressure": settings.pressure})


def _random_cell(settings: RunSettings, seed: int, share: float) -> Atoms:
    """Return the random candidate of a seed."""
    generation = settings.generate.model_copy(update={"symmetric_share": share, "prototype_share": 0.0, "workers": 1})
    generator = make_generator(settings.counts, generation)
    (candidate,) = generator.propose(1, np.random.default_rng([seed, 4711]))
    return candidate.atoms


@contextmanager
def dispatching(reference: Reference) -> Iterator[Dispatcher]:
    """Context that provides a dispatcher with a temporary ledger."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "ledger.db")
        yield Dispatcher(reference, ledger)
