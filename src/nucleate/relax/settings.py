"""Settings of the batched relaxation."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

LEARNED = "learned:"
"""Beginning of the name of an optimiser that is followed by the file of its policy."""


class RelaxSettings(BaseModel):
    """Settings of a relaxation."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    optimiser: str = Field(
        "lbfgs", max_length=4096, description="Optimiser: fire, lbfgs, or learned:FILE, a policy of nucleate train-moves."
    )
    fmax: float = Field(0.02, gt=0, le=1e3, description="Convergence threshold of the force on each atom, eV/Å.")
    smax: float = Field(0.1, gt=0, le=1e4, description="Convergence threshold of each component of stress plus pressure, GPa.")
    max_steps: int = Field(250, ge=1, le=1_000_000, description="Largest number of steps of a relaxation.")
    maxstep: float = Field(0.2, gt=0, le=10, description="Largest displacement of an atom in one step, Å.")
    keep_symmetry: bool = Field(
        False, description="Whether to keep the space group that each structure has within 0.1 Å at the start, made exact."
    )
    variable_cell: bool = Field(True, description="Whether to relax the cell as well as the atoms.")
    pressure: float = Field(0.0, ge=-1e3, le=1e5, description="External pressure, GPa.")
    sigma_stop: float | None = Field(
        None, gt=0, le=1e4, description="Calibrated uncertainty of the energy at which a relaxation stops, eV/atom; unset: never."
    )
    patience: int = Field(
        60, ge=1, le=1_000_000, description="Number of consecutive steps without progress after which a relaxation stops."
    )
    progress: float = Field(2e-4, ge=0, le=1e3, description="Decrease of the energy that counts as progress, eV/atom.")
    capacity: int = Field(
        2000, ge=1, le=10_000_000, description="Number of atoms relaxed at a time; structures that finish are replaced by the next ones."
    )
    volume_range: tuple[float, float] = Field(
        (0.3, 3.5), description="Range of the volume relative to the initial one; a relaxation that leaves it stops."
    )
    history: int = Field(20, ge=1, le=1_000, description="Number of steps in the memory of L-BFGS.")
    curvature: float | None = Field(
        None, gt=0, le=1e6,
        description="Constant curvature of L-BFGS for directions not met yet, eV/Å² (70 in ASE); unset: that of the last step.",
    )  # fmt: skip

    @field_validator("optimiser")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("fire", "lbfgs") and not (value.startswith(LEARNED) and value != LEARNED and value.isprintable()):
            raise ValueError("give fire, lbfgs or learned:FILE")
        return value

    @model_validator(mode="after")
    def _curvature_has_effect(self) -> Self:
        # A policy was trained with a constant one.
        if self.optimiser != "lbfgs" and self.curvature is not None:
            raise ValueError("curvature has an effect on the optimiser lbfgs only; remove it")
        return self

    @property
    def policy_file(self) -> str | None:
        """File of the policy of learned moves; None: the optimiser is another one."""
        return self.optimiser.removeprefix(LEARNED) if self.optimiser.startswith(LEARNED) else None

    @field_validator("volume_range")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not 0 < low < 1 < high <= 1e6:
            raise ValueError("give one factor below 1 and one above 1")
        return value
