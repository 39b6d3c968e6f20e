"""Settings of a search over the compositions of a chemical system."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from nucleate.persist.toml import Line


class HullSettings(BaseModel):
    """Settings of compositions, competing phases and the stop rule; they have no effect on the search of one formula."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    max_atoms: int = Field(12, ge=1, le=200, description="Largest number of atoms in a cell.")
    end_labels: int = Field(
        2,
        ge=1,
        le=1000,
        description="Number of labels in the first batch, beside first_batch, of each end member and the smallest charge-neutral cells.",
    )
    promising_share: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Share of the candidates that goes to compositions near the hull; the others are spread over all compositions.",
    )
    probability: float = Field(
        0.1, gt=0, le=1, description="Probability of a candidate to lie below the hull above which the search does not stop."
    )
    known: list[Line] = Field(
        default_factory=list, max_length=100, description="Files of known phases, which are relaxed on the reference and enter the hull."
    )
    elements_from: list[Line] = Field(
        default_factory=list, max_length=100, description="Run folders of searches with the same reference whose phases enter the hull."
    )
