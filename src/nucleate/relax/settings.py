"""Settings of the batched relaxation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class RelaxSettings(BaseModel):
    """How structures are relaxed on a potential."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    optimiser: Literal["fire", "lbfgs"] = Field("lbfgs", description="Batched optimiser.")
    fmax: float = Field(0.02, gt=0, le=1e3, description="Converged below this largest force on an atom, eV/Å ...")
    smax: float = Field(0.1, gt=0, le=1e4, description="... and this largest component of stress plus pressure, GPa.")
    max_steps: int = Field(250, ge=1, le=1_000_000, description="Steps after which a relaxation is given up.")
    maxstep: float = Field(0.2, gt=0, le=10, description="Longest move of an atom in one step, Å.")
    variable_cell: bool = Field(True, description="Relax the cell as well as the atoms.")
    pressure: float = Field(0.0, ge=-1e3, le=1e5, description="External pressure, GPa.")
    sigma_stop: float | None = Field(
        None, gt=0, le=1e4, description="Stop where the calibrated uncertainty of the energy exceeds this, eV/atom."
    )
    patience: int = Field(60, ge=1, le=1_000_000, description="Stop when this many steps in a row brought no progress.")
    progress: float = Field(2e-4, ge=0, le=1e3, description="What counts as progress: a lower energy by this, eV/atom.")
    capacity: int = Field(
        2000, ge=1, le=10_000_000, description="Atoms relaxed side by side; as structures finish, others take their place."
    )
    volume_range: tuple[float, float] = Field(
        (0.3, 3.5), description="Guard: a cell whose volume leaves this range, relative to its start, is stopped."
    )
    history: int = Field(20, ge=1, le=1_000, description="Steps L-BFGS remembers.")

    @field_validator("volume_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not 0 < low < 1 < high <= 1e6:
            raise ValueError("give one factor below 1 and one above")
        return value
