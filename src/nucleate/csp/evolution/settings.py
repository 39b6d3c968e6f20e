"""Settings of the evolution of the pool."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Strategy = Literal["random", "mixed", "evolution"]
OperatorName = Literal[
    "heredity", "strain", "permutation", "permutation-strain", "soft-mode", "symmetrise", "add-units", "twist", "molecule-heredity",
    "molecule-rotation", "molecule-strain", "molecule-exchange", "molecule-symmetrise", "conformer",
]  # fmt: skip

SHARES: dict[str, float] = {"random": 0.0, "mixed": 0.5, "evolution": 0.9}
"""Fraction of the new candidates of a round that are children of relaxed ones, by strategy; the others are random."""


class EvolutionSettings(BaseModel):
    """Settings of the children that are made of relaxed candidates; they are relaxed on the committee and need no reference calls."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    strategy: Strategy = Field(
        "random",
        description="New candidates: random; mixed, half of them children of relaxed ones; or evolution, nine tenths of them children.",
    )
    operators: list[OperatorName] = Field(
        default_factory=list, max_length=7, description="Operators that make children; empty: all that can be applied to the search."
    )
    generations: int = Field(2, ge=1, le=100, description="Number of generations in each round; their children share the round's pool.")
    parents: int = Field(40, ge=2, le=10_000, description="Number of lowest distinct minima of the pool that may have children.")
    niche: float = Field(0.1, ge=0, le=2, description="Distance of fingerprints below which two minima are in one niche.")
    niche_members: int = Field(3, ge=1, le=10_000, description="Largest number of parents from one niche.")
    half_life: float = Field(6.0, gt=0, le=1e6, description="Number of rounds after which a minimum is half as likely to be a parent.")
