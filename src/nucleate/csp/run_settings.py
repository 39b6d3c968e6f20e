"""Settings of a run, composed of the settings of its parts; see `persist.toml` for conversion to TOML."""

from __future__ import annotations

from typing import Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.crystals.compositions import ChemicalSystem, is_system, parse_system
from nucleate.crystals.formula import formula_text, parse_formula
from nucleate.csp.clusters.settings import ClusterSettings
from nucleate.csp.evolution.settings import EvolutionSettings
from nucleate.csp.layers.settings import LayerSettings
from nucleate.csp.measured.settings import MeasuredSettings
from nucleate.csp.minima.settings import MinimaSettings
from nucleate.csp.model_settings import SearchModelSettings, refuse_own_prior
from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.csp.settings import SearchSettings
from nucleate.csp.systems.settings import HullSettings
from nucleate.csp.teacher_settings import TeacherSettings, check_teacher
from nucleate.errors import BadInput
from nucleate.generate.settings import GenerateSettings
from nucleate.persist.toml import Line, validated
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.settings import RelaxSettings
from nucleate.training.settings import TrainingSettings


class PoolRelaxSettings(RelaxSettings):
    """Settings of relaxations on the committee, with looser thresholds than on a reference."""

    fmax: float = Field(0.05, gt=0, le=1e3, description="Convergence threshold of the force on each atom, eV/Å.")
    smax: float = Field(0.5, gt=0, le=1e4, description="Convergence threshold of each component of stress plus pressure, GPa.")
    max_steps: int = Field(200, ge=1, le=1_000_000, description="Largest number of steps of a relaxation.")
    patience: int = Field(
        40, ge=1, le=1_000_000, description="Number of consecutive steps without progress after which a relaxation stops."
    )
    workers: int | None = Field(
        None, ge=0, le=4096, description="Number of processes that relax the pool; unset: all available cores; 0 or 1: the search itself."
    )


OF_THE_SEARCH = ("relax.pressure", "relax.sigma_stop")
"""Settings of a relaxation that a search sets itself."""


class RunSettings(BaseModel):
    """Settings of a search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    formula: str = Field(
        "Si8",
        description="Chemical formula of the search cell with its exact number of atoms, such as Si8, or a chemical system, such as Mg-Si.",
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Random seed; the same seed and settings reproduce the run.")
    pressure: float = Field(0.0, ge=-1e3, le=1e5, description="External pressure, GPa; the search minimises the enthalpy.")
    seeds_from: Line | None = Field(None, description="File of structures to include in the first pool.")
    threads: int = Field(1, ge=1, le=4096, description="Number of threads for training; relaxation uses relax.workers processes.")
    reference: ReferenceSettings = Field(default_factory=ReferenceSettings, description="Reference method.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="Search loop.")
    generate: GenerateSettings = Field(default_factory=GenerateSettings, description="Generators of candidates.")
    evolution: EvolutionSettings = Field(default_factory=EvolutionSettings, description="Children of relaxed candidates.")
    model: SearchModelSettings = Field(default_factory=SearchModelSettings, description="Learned potential.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="Training of the learned potential.")
    relax: PoolRelaxSettings = Field(
        default_factory=PoolRelaxSettings,
        description="Relaxation of the pool on the committee; the search sets pressure and sigma_stop.",
    )
    teacher: TeacherSettings = Field(default_factory=TeacherSettings, description="What is known before the reference is asked.")
    hull: HullSettings = Field(default_factory=HullSettings, description="Search over the compositions of a chemical system.")

    dimensions: Literal[3, 2, 0] = Field(3, description="Number of periodic directions: 3, 2 for layers, or 0 for clusters.")
    layers: LayerSettings = Field(default_factory=LayerSettings, description="Search of layers.")
    clusters: ClusterSettings = Field(default_factory=ClusterSettings, description="Search of clusters.")
    measured: MeasuredSettings = Field(default_factory=MeasuredSettings, description="Measured powder pattern of the crystal.")
    minima: MinimaSettings = Field(default_factory=MinimaSettings, description="Search of every minimum within an energy window.")
    molecules: MolecularSettings = Field(default_factory=MolecularSettings, description="Search of molecular crystals.")

    @property
    def system(self) -> ChemicalSystem | None:
        """Chemical system whose compositions are searched; None: one formula is."""
        return parse_system(self.formula) if is_system(self.formula) else None

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each element in the search cell of one formula."""
        return parse_formula(self.formula)

    @property
    def name(self) -> str:
        """Formula of the search cell, or name of the chemical system."""
        return formula_text(self.counts) if self.system is None else self.system.name

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers in the search, ascending."""
        return tuple(sorted(atomic_numbers[symbol] for symbol in self.counts)) if self.system is None else self.system.species

    @field_validator("relax")
    @classmethod
    def _those_of_the_search(cls, value: PoolRelaxSettings) -> PoolRelaxSettings:
        if value.pressure != 0.0:
            raise ValueError("set `pressure` at the top of the settings, not in [relax]")
        if value.sigma_stop is not None:
            raise ValueError("set `sigma_stop` in [search], not in [relax]")
        return value


def settings_from_dict(data: dict[str, Any], source: str = "settings") -> RunSettings:
    """Validate settings of a run.

    Args:
        data: settings as nested dictionaries.
        source: file or other origin of the data, for error messages.

    Raises:
        BadInput: a key is unknown (the message names the closest known one), a value is wrong, or settings contradict each other.
    """
    settings = validated(RunSettings, data, source)
    settings.name  # noqa: B018 - raises BadInput for an invalid formula
    if settings.molecules.topology is not None and (settings.system is not None or settings.counts != settings.molecules.atoms):
        wanted = formula_text(settings.molecules.atoms)
        raise BadInput(f"formula {settings.formula}: the molecules of the search make {wanted}; leave the formula out")
    if settings.system is None:
        for name in sorted(settings.hull.model_fields_set):
            if getattr(settings.hull, name) != HullSettings.model_fields[name].get_default(call_default_factory=True):
                raise BadInput(
                    f"hull.{name} has no effect on the formula {settings.name}; give a chemical system such as Mg-Si, or remove it"
                )
    settings.model.family_options()
    if settings.model.family == "soap-krr":
        for name, field in TrainingSettings.model_fields.items():
            if not name.startswith("soften") and getattr(settings.training, name) != field.default:
                raise BadInput(f"training.{name} has no effect on the family 'soap-krr', which is fitted in closed form; remove it")
    if settings.model.prior is not None:
        refuse_own_prior(settings.model.prior, settings.reference.engine, settings.reference.calculator)
    check_teacher(settings.teacher, settings.model.prior)
    return settings
