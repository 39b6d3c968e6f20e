"""Settings of spin simulations."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.spins.simulate.observables.statistics import BINS


class SimulationSettings(BaseModel):
    """Settings of a spin simulation."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: Literal["monte-carlo", "dynamics"] = Field(
        "monte-carlo", description="Method: Monte Carlo with parallel tempering, or stochastic Landau-Lifshitz-Gilbert dynamics."
    )
    temperatures: list[float] = Field(description="Temperatures in K, increasing.")
    sizes: list[int] = Field([8], description="Numbers of cells along each coupled lattice vector; several sizes for the Binder crossing.")
    measurements: int = Field(2048, ge=BINS, description="Number of measurements for each temperature and size.")
    interval: int | None = Field(None, ge=1, description="Sweeps or time steps between measurements; default: 2 sweeps, 100 steps.")
    equilibration: int | None = Field(
        None, ge=0, description="Sweeps or time steps before the first measurement; default: 1000 sweeps, 20000 steps."
    )
    over_relaxation: int = Field(4, ge=0, description="Number of over-relaxation sweeps after each heat-bath sweep.")
    start: Literal["random", "ordered"] = Field("random", description="Initial spin directions.")
    field: tuple[float, float, float] = Field((0.0, 0.0, 0.0), description="Magnetic field in T.")
    timestep: float = Field(1.0, gt=0, description="Time step of the dynamics in fs.")
    damping: float = Field(
        0.1, gt=0, description="Gilbert damping of the dynamics; without damping the spins do not couple to the heat bath."
    )
    scheme: Literal["semi-implicit", "heun"] = Field("semi-implicit", description="Integrator of the dynamics.")
    seed: int = Field(0, ge=0, description="Random seed.")

    @field_validator("temperatures")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if not value:
            raise ValueError("give at least one temperature")
        if not all(math.isfinite(t) and t > 0 for t in value):
            raise ValueError("temperatures must be above zero kelvin")
        if sorted(set(value)) != value:
            raise ValueError("temperatures must be strictly increasing")
        return value

    @field_validator("sizes")
    @classmethod
    def _cells(cls, value: list[int]) -> list[int]:
        if not value or min(value) < 1 or len(set(value)) < len(value):
            raise ValueError("sizes must be at least one cell and must not repeat")
        return sorted(value)
