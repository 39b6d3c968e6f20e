"""Settings of what is known before the reference is asked: a pretrained potential, labels or a model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.errors import BadInput
from nucleate.persist.toml import Line
from nucleate.pretrained import NAMES, canonical_name


class TeacherSettings(BaseModel):
    """Settings of the teacher and of labels and models from elsewhere."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Line | None = Field(
        None,
        description=f"Pretrained potential that is searched before the reference: {NAMES}, mace:FILE or ase:MODULE:CLASS.",
    )
    labels_from: list[Line] = Field(
        default_factory=list, max_length=100, description="Run folders or files of labelled structures that the committee also learns from."
    )
    labels_settings: Line | None = Field(
        None, description="TOML file whose [reference] states the settings of the labels in files; unset: they are another method's."
    )
    model_from: Line | None = Field(None, description="Model file of a trained committee that the search corrects.")
    first_labels: int = Field(
        6, ge=1, le=10_000, description="Number of labels in the first batch, which are the lowest minima of the teacher or model."
    )
    budget: int = Field(400, ge=1, le=10_000_000, description="Largest number of evaluations of the teacher in its own search.")
    first_batch: int = Field(40, ge=2, le=10_000, description="Number of the teacher's labels before its committee is trained.")
    batch: int = Field(20, ge=1, le=10_000, description="Number of the teacher's labels in each round of its own search.")
    max_rounds: int = Field(12, ge=1, le=100_000, description="Largest number of rounds of the teacher's own search.")
    most_error: float = Field(
        0.5,
        gt=0,
        le=1e6,
        description="Error on the first labels above which the teacher is dropped: 20 dE^2 + dF^2 + 0.5 (V dS)^2 in eV/atom, eV/Å, eV.",
    )

    @field_validator("name")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else canonical_name(value)

    @property
    def anything(self) -> bool:
        """Whether anything is known before the reference is asked."""
        return self.name is not None or self.model_from is not None or bool(self.labels_from)


def check_teacher(settings: TeacherSettings, prior: str | None) -> None:
    """Raise `BadInput` if the settings contradict each other."""
    if settings.name is not None and settings.model_from is not None:
        raise BadInput("teacher.name and teacher.model_from are both given; the search corrects one surface, so remove one of them")
    if prior is not None and (settings.name is not None or settings.model_from is not None):
        raise BadInput("model.prior and a teacher or model_from are both given; the search corrects one surface, so remove one of them")
    if settings.labels_settings is not None and not settings.labels_from:
        raise BadInput("teacher.labels_settings has no effect without teacher.labels_from; remove it or add the labels")
