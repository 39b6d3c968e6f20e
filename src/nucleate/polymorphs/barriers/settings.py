"""Settings of barriers."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

MOST_ATOMS = 24
"""Largest number of atoms in the common cell of two polymorphs; the number of mappings grows steeply with it."""


class BarrierSettings(BaseModel):
    """Settings of the barriers between polymorphs."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    atoms: int = Field(
        16, ge=1, le=MOST_ATOMS, description="Largest number of atoms in a common cell, unless the smallest common cell has more."
    )
    paths: int = Field(3, ge=1, le=20, description="Number of starting paths of each pair, those of lowest cost.")
    images: int = Field(9, ge=5, le=41, description="Number of images of a band, including both ends.")
    spring: float = Field(5.0, gt=0, le=100, description="Spring constant along the path, eV/Å².")
    fmax: float = Field(0.02, gt=0, le=1, description="Convergence threshold of the forces of a band, eV/Å.")
    max_steps: int = Field(500, ge=1, le=100_000, description="Largest number of steps of a band.")
    splits: int = Field(1, ge=0, le=5, description="How often bands are divided at their intermediate minima.")
    rattle: float = Field(0.03, ge=0, le=0.3, description="Largest random displacement of an atom on a starting path, Å.")
    seed: int = Field(0, ge=0, description="Seed of the random displacements.")
    spots: int = Field(0, ge=0, le=100, description="Number of barriers whose ends and saddle the reference labels, the lowest first.")
