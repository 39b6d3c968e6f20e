"""Settings of ground-state calculations."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nucleate.electrons.species import Element


class GroundStateSettings(BaseModel):
    """Settings of GPAW ground states: plane waves, norm-conserving pseudopotentials, LDA."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(250.0, gt=0, description="Plane-wave cutoff in eV.")
    k_spacing: float = Field(0.2, gt=0, description="k-point spacing in 1/Å.")
    electronic_temperature: float = Field(500.0, gt=0, description="Electronic temperature in K.")
    sigma: float = Field(0.2, gt=0, description="Width of the Gaussians that broaden the levels in eV.")
    spacing: float = Field(0.1, gt=0, description="Energy spacing of the LDOS in eV.")
    low: float | None = Field(
        None, description="Lowest energy in eV; default: 6 sigma and a margin below the lowest level of the first snapshot."
    )
    high: float | None = Field(None, description="Highest energy in eV; default: 2.5 eV above the Fermi level of the first snapshot.")
    max_iterations: int = Field(100, ge=1, description="Maximum number of self-consistent iterations; beyond it a snapshot fails.")
    density_tolerance: float = Field(1e-5, gt=0, description="Convergence threshold of the density in electrons per valence electron.")
    pseudopotential: Literal["hgh"] = Field(
        "hgh", description="Pseudopotentials of Hartwigsen, Goedecker and Hutter, without semicore electrons (no atomic orbitals in GPAW)."
    )

    magnetic_moments: dict[Element, float] = Field(
        {},
        description="Starting magnetic moments of the elements in Bohr magnetons, all parallel; elements that are not named start "
        "without one; unset: spin-paired.",
    )

    @property
    def spin(self) -> bool:
        """Whether the calculation is spin-polarised."""
        return any(self.magnetic_moments.values())

    @model_validator(mode="after")
    def _ordered(self) -> GroundStateSettings:
        if self.low is not None and self.high is not None and self.high < self.low + 10 * self.spacing:
            raise ValueError(f"high ({self.high:g} eV) must be at least ten spacings above low ({self.low:g} eV)")
        return self
