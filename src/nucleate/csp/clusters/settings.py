"""Settings of a search of clusters."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ClusterSettings(BaseModel):
    """Settings of clusters; they have no effect on a search of crystals or layers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    diameter: float | None = Field(
        None, gt=0, le=100, description="Largest distance of two atoms of a cluster, Å; unset: estimated from the volume of the atoms."
    )
    vacuum: float = Field(12.0, gt=0, le=100, description="Smallest distance between the periodic images of a cluster, Å.")
