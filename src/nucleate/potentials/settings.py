"""Settings of the many-body committee and of kernel ridge regression."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ModelSettings(BaseModel):
    """Settings of the many-body committee."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(5.0, gt=1.0, le=12.0, description="Cutoff radius, Å.")
    radial: int = Field(8, ge=2, le=32, description="Number of radial functions for each neighbour species.")
    channels: int = Field(16, ge=2, le=128, description="Number of mixed channels of each member.")
    hidden: int = Field(48, ge=4, le=512, description="Width of the two hidden layers of the atomic network.")
    activation: Literal["silu", "tanh"] = Field(
        "silu", description="Activation function; tanh saturates on structures unlike the training data."
    )
    members: int = Field(4, ge=1, le=32, description="Number of committee members, trained together on resampled labels.")
    wall_fraction: float = Field(
        0.8, gt=0, le=1.2, description="Distance at which the repulsive pair wall begins, as a fraction of the sum of covalent radii."
    )
    wall_strength: float = Field(4.0, ge=0, le=1e6, description="Factor of the screened nuclear repulsion in the wall.")


class SoapKrrSettings(BaseModel):
    """Settings of kernel ridge regression on power spectra."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(5.0, gt=1.0, le=12.0, description="Cutoff radius of a neighbourhood, Å.")
    radial: int = Field(6, ge=2, le=16, description="Number of radial functions for each neighbour species.")
    zeta: int = Field(4, ge=1, le=16, description="Exponent of the kernel; larger values distinguish neighbourhoods more sharply.")
    points: int = Field(300, ge=2, le=5000, description="Number of sparse points, selected among the labelled atoms by farthest distance.")
    energy_noise: float = Field(0.005, gt=0, le=1e3, description="Expected error of an energy, eV/atom.")
    force_noise: float = Field(0.1, gt=0, le=1e3, description="Expected error of a force component, eV/Å.")
    stress_noise: float = Field(0.05, gt=0, le=1e3, description="Expected error of stress times volume, eV/atom.")
