"""Competing phases that are known before a search of a chemical system: structures from files, and phases of earlier searches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from nucleate.csp.labels_from import refuse_other_settings
from nucleate.csp.leads import DUPLICATE_ENERGY
from nucleate.csp.records import Polymorph, enthalpy_per_atom, residuals
from nucleate.csp.run_data import read_run
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.systems.phases import formula_of
from nucleate.errors import BadInput, BudgetExhausted, ReferenceFailed
from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.generate.seeds import read_seeds, searchable
from nucleate.progress import Note, Progress, silent
from nucleate.reference.base import Label, Reference
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import read_references
from nucleate.relax.batched import CONVERGED, relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

PURPOSE, ORIGIN = "known", "known phase"
"""Purpose of the calculations of known phases in the ledger, and their origin."""


@dataclass(frozen=True)
class KnownPhase:
    """A structure of the user with its name, such as `Mg2Si (Fm-3m)`."""

    name: str
    atoms: Atoms


def read_known(settings: RunSettings) -> list[KnownPhase]:
    """Read the files of `hull.known`; each phase is in its primitive cell.

    Raises:
        BadInput: a file cannot be read, or a structure contains an element or has a composition outside the system.
    """
    system = settings.system
    assert system is not None
    known = []
    for atoms, where, _ in read_seeds(list(settings.hull.known)) if settings.hull.known else []:
        if not system.contains(atoms):
            raise BadInput(
                f"{where}: {atoms.get_chemical_formula()} is not a composition of {system.name}; remove it from the known phases"
            )
        cell = searchable(atoms, where)
        known.append(KnownPhase(f"{formula_of(system, cell)} ({space_group(cell)[0]})", cell))
    return known


def relax_known(phase: KnownPhase, dispatcher: Dispatcher, settings: RelaxSettings) -> Polymorph | str:
    """Relax a known phase on the reference.

    Args:
        phase: the phase.
        dispatcher: runs the calculations, which are those of round 0.
        settings: settings of the relaxation, with the pressure (GPa).

    Returns:
        The relaxed phase, or the reason why there is none.
    """
    before = dispatcher.calls()
    try:
        (end,) = relax([phase.atoms], ReferencePotential(dispatcher, PURPOSE, 0), settings)
        if end.stop != CONVERGED:
            return f"its relaxation ended as '{end.stop}' after {end.steps} steps"
        # The ledger has the label of the last geometry.
        (label,) = dispatcher.label_many([end.atoms], PURPOSE, 0, like=[phase.atoms])
    except (ReferenceFailed, BudgetExhausted) as failure:
        return str(failure)
    if not isinstance(label, Label):
        return str(label)
    fmax, smax = residuals(end.atoms, label, settings.pressure)
    symbol, number = space_group(end.atoms)
    return Polymorph(
        end.atoms, phase.atoms, enthalpy_per_atom(end.atoms, label, settings.pressure), fmax, smax, symbol, number, np.nan, ORIGIN,
        dispatcher.calls(), dispatcher.calls() - before, 0, frame=phase.atoms, known=phase.name,
    )  # fmt: skip


def phases_given(settings: RunSettings, reference: Reference, progress: Progress = silent) -> list[Polymorph]:
    """Return the confirmed phases of the run folders in `hull.elements_from` that belong to the system.

    Args:
        settings: settings of the search.
        reference: its reference.
        progress: called with a `Note` for each folder whose search has not finished.

    Raises:
        BadInput: a folder was calculated with other settings, which the message names, or at another pressure, or has no phase of the
            system.
        RunFolderError: a folder is not a run folder.
    """
    system = settings.system
    assert system is not None
    given: list[Polymorph] = []
    for name in settings.hull.elements_from:
        path = Path(name)
        run = read_run(path)
        if run.calls == 0:
            raise BadInput(f"{path}: the search has no calculations yet; let it run first")
        for stored in read_references(path / "run.db"):
            refuse_other_settings(path, *stored, reference)
        if run.settings.pressure != settings.pressure:
            raise BadInput(f"{path}: the search was at {run.settings.pressure:g} GPa, but this one is at {settings.pressure:g} GPa")
        mine = [polymorph for polymorph in run.state.minima() if system.contains(polymorph.atoms)]
        if not mine:
            raise BadInput(f"{path}: has no confirmed phase of {system.name}; name a search of one of its elements or compounds")
        if run.status != "finished":
            progress(Note(f"{path}: the search has not finished; its phases so far are used"))
        given += [
            replace(p, origin="given", calls=0, own_calls=0, round=0, found=1, accurate=None, level=0.0, known=None, sigma=np.nan)
            for p in mine
        ]
    return given


def enter(phase: Polymorph, phases: list[Polymorph]) -> bool:
    """Add a phase unless it is one of the others, which then takes its name; return whether it was added."""
    for other in phases:
        if abs(other.energy - phase.energy) < DUPLICATE_ENERGY and same_crystal(other.atoms, phase.atoms):
            other.known = other.known or phase.known
            other.found += 1
            return False
    phases.append(phase)
    return True
