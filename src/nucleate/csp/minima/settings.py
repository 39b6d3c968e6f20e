"""Settings of a search of all minima within an energy window."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

GOALS = ("lowest", "minima")
WINDOW = 50.0
"""Window of the goal `minima` where none is given, meV/atom."""


class MinimaSettings(BaseModel):
    """Settings of the goal to find every minimum within a window."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    window: float | None = Field(
        None,
        gt=0,
        le=1e4,
        description="Find every minimum up to this energy above the lowest, meV/atom; unset: the lowest ones are sought.",
    )
    unseen: float = Field(
        0.05,
        gt=0,
        lt=1,
        description="Probability that the next random candidate within the window is in a minimum not found yet, at which the search ends.",
    )
