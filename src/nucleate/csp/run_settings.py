"""A run's settings: the rooms' own models, composed; see `settings_text` for TOML."""

from __future__ import annotations

from typing import Any

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.crystals.formula import parse_formula
from nucleate.csp.model_settings import SearchModelSettings, refuse_own_prior
from nucleate.csp.settings import SearchSettings
from nucleate.errors import BadInput
from nucleate.generate.settings import GenerateSettings
from nucleate.persist.toml import Line, validated
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.settings import RelaxSettings
from nucleate.training.settings import TrainingSettings


class PoolRelaxSettings(RelaxSettings):
    """Looser than a relaxation on a reference: the committee is not worth more."""

    fmax: float = Field(0.05, gt=0, le=1e3, description="Converged below this largest force on an atom, eV/Å ...")
    smax: float = Field(0.5, gt=0, le=1e4, description="... and this largest component of stress plus pressure, GPa.")
    max_steps: int = Field(200, ge=1, le=1_000_000, description="Steps after which a relaxation is given up.")
    patience: int = Field(40, ge=1, le=1_000_000, description="Stop when this many steps in a row brought no progress.")


OF_THE_SEARCH = ("relax.pressure", "relax.sigma_stop")
"""Fields of a relaxation that a search sets itself."""


class RunSettings(BaseModel):
    """Everything that decides a search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    formula: str = Field("Si8", description="What the search cell holds, with its exact atom count.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of all random numbers; the same seed and settings repeat the run.")
    pressure: float = Field(0.0, ge=-1e3, le=1e5, description="External pressure, GPa; the search then minimises the enthalpy.")
    seeds_from: Line | None = Field(None, description="File of your own structures, mixed into the first pool.")
    threads: int = Field(1, ge=1, le=4096, description="Threads of the committee's training and relaxation.")
    reference: ReferenceSettings = Field(default_factory=ReferenceSettings, description="The reference method.")
    search: SearchSettings = Field(default_factory=SearchSettings, description="The loop.")
    generate: GenerateSettings = Field(default_factory=GenerateSettings, description="The generators.")
    model: SearchModelSettings = Field(default_factory=SearchModelSettings, description="The committee.")
    training: TrainingSettings = Field(default_factory=TrainingSettings, description="Its training.")
    relax: PoolRelaxSettings = Field(
        default_factory=PoolRelaxSettings,
        description="Relaxation of the pool on the committee; pressure and sigma_stop are those of the search.",
    )

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each element in the search cell."""
        return parse_formula(self.formula)

    @property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers in the search cell, ascending."""
        return tuple(sorted(atomic_numbers[symbol] for symbol in self.counts))

    @field_validator("relax")
    @classmethod
    def _those_of_the_search(cls, value: PoolRelaxSettings) -> PoolRelaxSettings:
        if value.pressure != 0.0:
            raise ValueError("set `pressure` at the top of the settings, not in [relax]")
        if value.sigma_stop is not None:
            raise ValueError("set `sigma_stop` in [search], not in [relax]")
        return value


def settings_from_dict(data: dict[str, Any], source: str = "settings") -> RunSettings:
    """Validate; raises `BadInput` naming every wrong key with the nearest right one, and every wrong value."""
    settings = validated(RunSettings, data, source)
    settings.counts  # noqa: B018 - an impossible formula is refused here
    settings.model.family_options()
    if settings.model.family == "soap-krr":
        for name, field in TrainingSettings.model_fields.items():
            if not name.startswith("soften") and getattr(settings.training, name) != field.default:
                raise BadInput(f"training.{name} has no effect on soap-krr, which is solved in closed form")
    if settings.model.prior is not None:
        refuse_own_prior(settings.model.prior, settings.reference.engine, settings.reference.calculator)
    return settings
