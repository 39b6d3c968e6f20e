"""Common settings of the networks."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Activation = Literal["tanh", "silu", "celu", "relu", "softplus", "gaussian"]


class NetworkSettings(BaseModel):
    """Settings that all families of networks share."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    members: int = Field(1, ge=1, le=32, description="Number of committee members, trained together on resampled labels.")
    wall_fraction: float = Field(
        0.8, gt=0, le=1.2, description="Distance at which the repulsive pair wall begins, as a fraction of the sum of covalent radii."
    )
    wall_strength: float = Field(4.0, ge=0, le=1e6, description="Factor of the screened nuclear repulsion in the wall; 0: no wall.")
