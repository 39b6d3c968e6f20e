"""Settings of the training of moves."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nucleate.relax.learned.policy import PolicySettings


class MoveSettings(BaseModel):
    """Settings of the training of a policy of moves."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    method: Literal["evolution", "unrolling"] = Field(
        "evolution", description="Gradient of the return: by evolution strategies, or through unrolled relaxations."
    )
    seed: int = Field(0, ge=0, lt=2**63, description="Random seed of the cells, the weights and the perturbations.")
    generations: int | None = Field(None, ge=1, le=1_000_000, description="Number of updates; unset: 100 of evolution, 400 of unrolling.")
    cells: int = Field(256, ge=1, le=100_000, description="Number of random cells of each formula.")
    validation: int = Field(32, ge=1, le=100_000, description="Number of other random cells of each formula, which choose the weights.")
    validate_every: int = Field(5, ge=1, le=1_000_000, description="Number of updates between two evaluations on the validation cells.")
    batch: int = Field(8, ge=1, le=10_000, description="Number of cells relaxed in an update.")
    steps: int = Field(50, ge=2, le=10_000, description="Number of steps of a relaxation.")
    pairs: int = Field(16, ge=1, le=10_000, description="Number of pairs of opposite perturbations (evolution).")
    spread: float = Field(0.1, gt=0, le=10, description="Standard deviation of the perturbations of the weights (evolution).")
    window: int = Field(8, ge=1, le=1000, description="Number of steps through which a gradient is propagated (unrolling).")
    rate: float = Field(0.03, gt=0, le=10, description="Learning rate at the start; it falls to a tenth.")
    fmax: float = Field(0.05, gt=0, le=1e3, description="Force below which nothing more is gained, eV/Å.")
    energy_weight: float = Field(1.0, ge=0, le=1e3, description="Weight of the last energy against that of L-BFGS, atom/eV (evolution).")
    maxstep: float = Field(0.2, gt=0, le=10, description="Largest displacement of an atom in one step, Å.")
    policy: PolicySettings = Field(default_factory=PolicySettings, description="Form of the policy.")

    @property
    def updates(self) -> int:
        """Number of updates."""
        return self.generations or (100 if self.method == "evolution" else 400)
