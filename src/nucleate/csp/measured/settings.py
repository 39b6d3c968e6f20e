"""Settings of a search with a measured powder pattern."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from nucleate.persist.toml import Line


class MeasuredSettings(BaseModel):
    """Settings of a measured powder pattern, towards which candidates are selected."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    xrd: Line | None = Field(None, description="File of a powder pattern: columns of 2 theta in degrees and intensity.")
    wavelength: Line | None = Field(None, description="Wavelength of the pattern in Å, or name of an X-ray line such as CuKa.")
    neutron: bool = Field(False, description="Whether the pattern is measured with neutrons.")
    deuterated: bool = Field(False, description="Whether hydrogen atoms scatter neutrons as deuterium.")
    weight: float = Field(
        0.1, gt=0, le=100, description="Weight w of the score E + w ln(1 - s²) with the similarity s of the patterns, eV/atom."
    )
    strain: float = Field(0.05, ge=0, le=0.2, description="Largest principal strain with which a cell is fitted to the pattern.")
