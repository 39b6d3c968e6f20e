"""Settings of this room: sampling, training."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class GroundStateSettings(BaseModel):
    """How GPAW computes the electrons of a snapshot: plane waves, norm-conserving pseudopotentials, LDA."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(250.0, gt=0, description="Plane-wave cutoff, eV.")
    k_spacing: float = Field(0.2, gt=0, description="Spacing of k-points, 1/Å.")
    electronic_temperature: float = Field(500.0, gt=0, description="Of the electrons, K.")
    sigma: float = Field(0.2, gt=0, description="Width of the Gaussians that draw the levels, eV.")
    spacing: float = Field(0.1, gt=0, description="Of the energies, eV.")
    low: float | None = Field(
        None, description="First energy, eV; unset: 6 sigma below the lowest level of the first snapshot and a margin."
    )
    high: float | None = Field(None, description="Last energy, eV; unset: 2.5 eV above the Fermi level of the first snapshot.")
    max_iterations: int = Field(100, ge=1, description="Self-consistent steps before a snapshot counts as failed.")
    density_tolerance: float = Field(1e-5, gt=0, description="Electrons per valence electron that may still move.")
    pseudopotential: Literal["hgh"] = Field(
        "hgh", description="Hartwigsen, Goedecker and Hutter's; GPAW makes no atomic orbitals for those with semicore electrons."
    )

    @model_validator(mode="after")
    def _ordered(self) -> GroundStateSettings:
        if self.low is not None and self.high is not None and self.high < self.low + 10 * self.spacing:
            raise ValueError(f"high ({self.high:g} eV) must lie ten spacings above low ({self.low:g} eV) at least")
        return self
