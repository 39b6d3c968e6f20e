"""Settings of simulations of spins."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.spins.simulate.observables.statistics import BINS


class SimulationSettings(BaseModel):
    """What a simulation runs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: Literal["monte-carlo", "dynamics"] = Field(
        "monte-carlo", description="Parallel tempering, or stochastic Landau-Lifshitz-Gilbert."
    )
    temperatures: list[float] = Field(description="K; rising.")
    sizes: list[int] = Field([8], description="Cells along each vector that couplings reach along; several for Binder's crossing.")
    measurements: int = Field(2048, ge=BINS, description="Measurements of each temperature and size.")
    interval: int | None = Field(None, ge=1, description="Sweeps or steps between measurements; unset: 2 sweeps, 100 steps.")
    equilibration: int | None = Field(None, ge=0, description="Sweeps or steps before the first; unset: 1000 sweeps, 20000 steps.")
    over_relaxation: int = Field(4, ge=0, description="Over-relaxation sweeps after each heat-bath sweep.")
    start: Literal["random", "ordered"] = Field("random", description="Directions at the start.")
    field: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="Magnetic field, T.")
    timestep: float = Field(1.0, gt=0, description="Of dynamics, fs.")
    damping: float = Field(0.1, gt=0, description="Gilbert damping of dynamics; at zero nothing couples spins to the temperature.")
    scheme: Literal["semi-implicit", "heun"] = Field("semi-implicit", description="Integrator of dynamics.")
    seed: int = Field(0, ge=0, description="Of everything random.")

    @field_validator("temperatures")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if not value:
            raise ValueError("give at least one temperature")
        if not all(math.isfinite(t) and t > 0 for t in value):
            raise ValueError("temperatures are above zero kelvin")
        if sorted(set(value)) != value:
            raise ValueError("temperatures rise, each of them once")
        return value

    @field_validator("sizes")
    @classmethod
    def _cells(cls, value: list[int]) -> list[int]:
        if not value or min(value) < 1 or len(set(value)) < len(value):
            raise ValueError("give sizes of at least one cell, each once")
        return sorted(value)
