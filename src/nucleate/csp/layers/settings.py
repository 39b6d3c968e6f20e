"""Settings of a search of layers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LayerSettings(BaseModel):
    """Settings of layers; they have no effect on a search in three dimensions."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    thickness: float = Field(5.0, gt=0, le=50, description="Largest distance of two atoms along the normal of a layer, Å.")
    vacuum: float = Field(15.0, gt=0, le=100, description="Smallest distance between the periodic images of a layer, Å.")
