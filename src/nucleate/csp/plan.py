"""Plan of a search: the objects that follow from its settings, built and checked before a run folder is created."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nucleate.crystals.formula import scale_formula
from nucleate.csp.clusters.space import ClusterSpace
from nucleate.csp.dimensions import check_dimensions
from nucleate.csp.evolution.build import check_evolution
from nucleate.csp.layers.space import LayerSpace
from nucleate.csp.learner import Learner
from nucleate.csp.measured.space import MeasuredSpace, check_measured
from nucleate.csp.minima.space import MinimaSpace, check_minima
from nucleate.csp.molecular.space import MoleculeSpace, check_molecular
from nucleate.csp.run_settings import RunSettings
from nucleate.csp.space import FormulaSpace
from nucleate.csp.systems.space import SystemSpace, make_space
from nucleate.errors import BadInput
from nucleate.generate import MixtureGenerator, make_generator
from nucleate.potentials.prior import pretrained_potential
from nucleate.pretrained import check_elements, same_model, shown_name
from nucleate.reference.base import Reference
from nucleate.reference.build import make_reference, without_effect
from nucleate.reference.shared.address import read_address
from nucleate.reference.shared.base import Shared
from nucleate.reference.surrogates import pretrained_reference
from nucleate.relax.batched import make_optimiser


@dataclass(frozen=True)
class Plan:
    """Settings of a search and the objects that follow from them; created by `prepare`.

    Attributes:
        settings: resolved settings.
        reference: reference that labels structures.
        accurate: the same reference with the preset `accurate`; None if it has no presets, or this one already.
        teacher: pretrained potential that is searched first; None: there is none.
        shared: open ledger that several searches share; None: there is none, or it is not open.
    """

    settings: RunSettings
    reference: Reference
    accurate: Reference | None = None
    teacher: Reference | None = None
    shared: Shared | None = None

    @cached_property
    def space(self) -> FormulaSpace | SystemSpace | MoleculeSpace | LayerSpace | ClusterSpace:
        """What the search covers."""
        if self.settings.dimensions == 2:
            return LayerSpace(self.settings)
        if self.settings.dimensions == 0:
            return ClusterSpace(self.settings)
        if self.settings.measured.xrd is not None:
            return MeasuredSpace(self.settings)
        if self.settings.minima.window is not None:
            return MinimaSpace(self.settings)
        return MoleculeSpace(self.settings) if self.settings.molecules.molecule else make_space(self.settings)

    def small_generators(self) -> list[MixtureGenerator]:
        """Return generators for the smaller cells of `search.train_units`, one for each."""
        units = self.settings.search.train_units if not self.settings.molecules.molecule else []
        return [make_generator(scale_formula(self.settings.counts, n), self.settings.generate) for n in units]

    def learner(self, answers: Path | None = None) -> Learner:
        """Return an untrained learner.

        Args:
            answers: file that stores the predictions of the prior; None does not store them.
        """
        s = self.settings
        return Learner(s.species, s.model, s.training, s.seed, self.reference, answers)


def prepare(settings: RunSettings, reference: Reference | None = None) -> Plan:
    """Return the plan of a search.

    Args:
        settings: resolved settings.
        reference: a reference in place of the one that the settings describe.

    Raises:
        MissingDependency: a package or program that the reference or the teacher needs is not installed.
        BadInput: settings of the reference contradict each other, the address of the shared ledger is wrong, or the teacher is unknown or
            the reference itself, or the file of learned moves cannot be read.
    """
    settings = _with_one_cutoff(settings)
    if settings.reference.ledger is not None:
        read_address(settings.reference.ledger)
    check_molecular(settings)
    check_dimensions(settings)
    check_measured(settings)
    check_evolution(settings)
    check_minima(settings)
    # A file of learned moves that cannot be read is refused here.
    make_optimiser(settings.relax)
    name, topology = settings.teacher.name, settings.molecules.topology
    standard = make_reference(settings.reference, topology) if reference is None else reference
    if name is not None and (same_model(name, standard.name) or same_model(name, f"ase:{settings.reference.calculator}")):
        raise BadInput(f"the teacher and the reference are both '{shown_name(name)}'; choose another teacher")
    teacher = None if name is None else pretrained_reference(name, topology)
    if reference is not None or "preset" in without_effect(settings.reference.engine):
        return Plan(settings, standard, None, teacher)
    accurate = make_reference(settings.reference.model_copy(update={"preset": "accurate"}), topology)
    return Plan(settings, standard, None if accurate.settings() == standard.settings() else accurate, teacher)


def _with_one_cutoff(settings: RunSettings) -> RunSettings:
    """Return settings in which all phases of a chemical system have one cutoff; GPAW's presets have a lower one for some elements."""
    system, reference = settings.system, settings.reference
    if system is None or reference.engine != "gpaw" or reference.cutoff is not None:
        return settings
    from nucleate.reference.gpaw import PRESETS, SOFT

    if set(system.symbols) <= SOFT:
        return settings
    cutoff = PRESETS[reference.preset]["hard"]
    return settings.model_copy(update={"reference": reference.model_copy(update={"cutoff": cutoff})})


def check_start(plan: Plan) -> None:
    """Check the settings that only a new search uses; a resumed one takes models and structures from its folder.

    Raises:
        BadInput: model, prior and reference contradict each other, a pretrained potential was not trained for an element, or a file of
            structures does not fit the formula or the pool.
        MissingDependency: a package that the prior needs is not installed.
    """
    check_elements(plan.reference.name, plan.settings.species)
    if plan.settings.teacher.name is not None:
        pretrained_potential(plan.settings.teacher.name, plan.settings.species)
    plan.learner()
    own, pool = plan.space.seeds, plan.settings.search.pool
    if own > pool:
        raise BadInput(f"{plan.settings.seeds_from}: contains {own} structures, but search.pool is {pool}; increase search.pool")
