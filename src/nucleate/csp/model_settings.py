"""Settings of the learned potential of a search."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from nucleate.errors import BadInput, quoted
from nucleate.persist.toml import Line
from nucleate.potentials.prior import PRIORS, check_prior
from nucleate.potentials.registry import family_settings
from nucleate.potentials.settings import ModelSettings
from nucleate.reference.surrogates import PACKAGES

SHARED = ("members", "wall_fraction", "wall_strength")
"""Settings of the many-body committee that every network has as well."""


class SearchModelSettings(ModelSettings):
    """Family of the learned potential with its settings; the many-body committee's are fields, those of other families are `options`."""

    family: Line = Field("manybody", description="Family of the learned potential: manybody, a2a, molcnn, schnet, painn or soap-krr.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of a family other than manybody.")
    prior: Line | None = Field(
        None, description="Pretrained potential below the learned one, which then fits the difference: chgnet, sevennet or mace:FILE."
    )

    def family_options(self) -> BaseModel:
        """Return the settings of the family; raises `BadInput` for settings that it does not have."""
        if self.family == "manybody":
            if self.options:
                raise BadInput(
                    f"model.options has no effect on the family manybody: write {quoted(', '.join(self.options))} into [model] itself"
                )
            return ModelSettings.model_validate(self.model_dump(include=set(ModelSettings.model_fields)))
        shared = SHARED if self.family != "soap-krr" else ()
        for name in shared:
            if name in self.options and getattr(self, name) != ModelSettings.model_fields[name].default:
                raise BadInput(f"model.{name} stands in [model] and in [model.options]; give one of the two")
        for name, field in ModelSettings.model_fields.items():
            if name not in shared and getattr(self, name) != field.default:
                raise BadInput(f"model.{name} is the many-body committee's and has no effect on {self.family}: use [model.options]")
        return family_settings(self.family, {**{name: getattr(self, name) for name in shared}, **self.options})


def refuse_own_prior(prior: str, reference: str, calculator: str | None = None) -> None:
    """Raise `BadInput` for an unknown prior, or one that is the same model as the reference."""
    check_prior(prior)
    if prior == reference or (prior in PRIORS and calculator is not None and calculator.split(".")[0] == PACKAGES[prior]):
        raise BadInput(f"prior and reference are both {prior}; choose another prior")
