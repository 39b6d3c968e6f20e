"""Settings of the learned potential of a search."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, field_validator

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import Line
from nucleate.potentials.families import SETTINGS, family_settings
from nucleate.potentials.settings import ModelSettings
from nucleate.pretrained import NAMES, canonical_name, check_name, same_model, shown_name

SHARED = ("members", "wall_fraction", "wall_strength")
"""Settings that the many-body committee shares with all networks."""


class SearchModelSettings(ModelSettings):
    """Family of the learned potential and its settings; those of the many-body committee are fields, those of other families `options`."""

    family: Line = Field("manybody", description="Family of the learned potential: manybody, a2a, molcnn, schnet, painn or soap-krr.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a family other than manybody.")
    prior: Line | None = Field(None, description=f"Pretrained potential to which the learned one is a correction: {NAMES} or mace:FILE.")

    @field_validator("prior")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else canonical_name(value)

    def family_options(self) -> BaseModel:
        """Return the settings of the family.

        Raises:
            BadInput: a setting is not one of the family, or is given twice.
        """
        if self.family == "manybody":
            if self.options:
                raise BadInput(f"model.options has no effect on the family 'manybody'; write {quoted(', '.join(self.options))} in [model]")
            return ModelSettings.model_validate(self.model_dump(include=set(ModelSettings.model_fields)))
        if self.family not in SETTINGS:
            raise BadInput(f"unknown model '{quoted(self.family)}'; choose one of {', '.join(SETTINGS)}")
        shared = SHARED if self.family != "soap-krr" else ()
        for name in shared:
            if name in self.options and getattr(self, name) != ModelSettings.model_fields[name].default:
                raise BadInput(f"{name} is given in both [model] and [model.options]; remove one of them")
        for name, field in ModelSettings.model_fields.items():
            if name not in shared and getattr(self, name) != field.default:
                raise BadInput(f"model.{name} has no effect on the family '{self.family}'; write its settings in [model.options]")
        return family_settings(self.family, {**{name: getattr(self, name) for name in shared}, **self.options})


def refuse_own_prior(prior: str, reference: str, calculator: str | None = None) -> None:
    """Raise `BadInput` for an unknown prior, or one that is the same model as the reference."""
    check_name(prior, "prior")
    if same_model(prior, reference) or (calculator is not None and same_model(prior, f"ase:{calculator}")):
        raise BadInput(f"model.prior and the reference are both '{shown_name(prior)}'; choose another prior")
