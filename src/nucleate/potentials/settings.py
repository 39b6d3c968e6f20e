"""Settings of the committee model and of its training."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ModelSettings(BaseModel):
    """The many-body committee."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(5.0, gt=1.0, le=12.0, description="Reach of the potential, Å.")
    radial: int = Field(8, ge=2, le=32, description="Radial functions per neighbour species.")
    channels: int = Field(16, ge=2, le=128, description="Mixed channels per member.")
    hidden: int = Field(48, ge=4, le=512, description="Units in each of the two hidden layers of the atomic network.")
    members: int = Field(4, ge=1, le=32, description="Committee members, trained together on resampled labels.")
    wall_fraction: float = Field(0.8, gt=0, le=1.2, description="Where the pair wall begins, as a fraction of the sum of covalent radii.")
    wall_strength: float = Field(4.0, ge=0, description="Factor on the screened nuclear repulsion of the wall.")


class TrainingSettings(BaseModel):
    """How the committee is trained."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(1000, ge=1, description="Optimiser steps of the first training.")
    warm_steps: int = Field(400, ge=1, description="Optimiser steps of each later round, started from the last weights.")
    batch_structures: int = Field(12, ge=1, description="Structures a step.")
    learning_rate: float = Field(0.01, gt=0, description="AdamW step at the start of the cosine.")
    warm_learning_rate: float = Field(0.005, gt=0, description="The same for warm-started trainings.")
    weight_decay: float = Field(0.1, ge=0, description="AdamW weight decay.")
    energy_weight: float = Field(20.0, ge=0, description="Weight of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, description="Weight of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, description="Weight of the squared error of stress times volume per atom.")
    soften_force: float = Field(
        2.0, gt=0, description="Structures whose forces exceed this (eV/Å) count less: weight 1/(1 + (F/soften)^2)."
    )
    soften_energy: float = Field(1.0, gt=0, description="Structures this far above the lowest (eV/atom) count less, in the same way.")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the running average of weights that is kept.")
    bootstrap: bool = Field(True, description="Give each member its own random weights on the labels.")
