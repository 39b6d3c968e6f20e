"""Settings of a check."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

OF_PHONONS = ("length", "supercell", "converge", "displacement", "temperature", "follow")
"""Settings that have an effect on phonons alone."""
Multiple = Annotated[int, Field(ge=1, le=20)]


class CheckSettings(BaseModel):
    """Settings of the check of polymorphs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    phonons: bool = Field(True, description="Whether to calculate phonons and harmonic free energies.")
    elastic: bool = Field(True, description="Whether to calculate elastic constants.")
    quasi_harmonic: bool = Field(False, description="Whether to calculate phonons at several volumes and quasi-harmonic free energies.")
    length: float = Field(10.0, ge=2, le=60, description="Smallest distance of an atom and its images in the supercell, Å.")
    supercell: tuple[Multiple, Multiple, Multiple] | None = Field(
        None, description="Multiples of the primitive cell in the supercell; unset: from `length`."
    )
    converge: bool = Field(False, description="Whether to repeat the phonons in a supercell that is a half longer, and report the change.")
    displacement: float = Field(0.03, ge=1e-3, le=0.2, description="Displacement of an atom, Å.")
    strain: float = Field(0.01, ge=1e-4, le=0.05, description="Strain of the elastic constants.")
    temperature: float = Field(1000.0, gt=0, le=10_000, description="Highest temperature, K.")
    follow: int = Field(2, ge=0, le=20, description="Number of imaginary modes, the lowest first, that are followed downhill.")
    spots: int = Field(2, ge=0, le=100, description="Number of displaced structures labelled by the reference to measure the force error.")
    train: int = Field(
        0, ge=0, le=1000, description="Largest number of labels near each polymorph on which the committee is trained before the check."
    )
    fmax: float = Field(1e-3, gt=0, le=0.1, description="Convergence threshold of forces before the check, eV/Å.")
    smax: float = Field(0.01, gt=0, le=1, description="Convergence threshold of stresses before the check, GPa.")
    max_steps: int = Field(500, ge=1, le=100_000, description="Largest number of steps of a relaxation.")

    @model_validator(mode="after")
    def _consistent(self) -> CheckSettings:
        """Refuse combinations that calculate nothing."""
        if self.quasi_harmonic and not self.phonons:
            raise ValueError("quasi-harmonic free energies need phonons; give --phonons as well, or leave --elastic and --no-phonons out")
        if not (self.phonons or self.elastic):
            raise ValueError("phonons and elastic constants are both left out; nothing remains to check")
        left_out = [] if self.phonons else [(name, "phonons") for name in OF_PHONONS]
        left_out += [] if self.elastic else [("strain", "elastic constants")]
        for name, part in left_out:
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"--{name.replace('_', '-')} has no effect without {part}, which are left out; remove it")
        return self
