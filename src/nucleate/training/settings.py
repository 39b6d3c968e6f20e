"""Settings of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.persist.toml import Line
from nucleate.pretrained import NAMES, canonical_name
from nucleate.training.label_keys import LabelKeys


class Stage(BaseModel):
    """Stage of a training with its own trainable parameters."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1, le=100_000_000, description="Number of optimiser steps.")
    train: list[str] = Field(default_factory=list, description="Layers or species that are trained; empty: all.")
    learning_rate: float | None = Field(None, gt=0, description="Learning rate of this stage; unset: that of the training.")


class FitSettings(BaseModel):
    """Settings of a training."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Line = Field("manybody", description="Family of the potential: manybody, a2a, molcnn, schnet, painn or soap-krr.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of the family.")
    prior: Line | None = Field(None, description=f"Pretrained potential to which the learned one is a correction: {NAMES} or mace:FILE.")
    seed: int = Field(0, ge=0, lt=2**63, description="Random seed of weights, split, minibatches and bootstrap.")
    steps: int = Field(2000, ge=1, le=100_000_000, description="Number of optimiser steps.")
    stages: list[Stage] = Field(default_factory=list, max_length=1000, description="Consecutive stages, in place of steps.")
    batch: int = Field(12, ge=1, le=1_000_000, description="Number of structures in a minibatch; L-BFGS uses all.")
    optimiser: Literal["adamw", "adam", "lbfgs"] = Field("adamw", description="Optimiser.")
    learning_rate: float = Field(0.005, gt=0, description="Learning rate at the start of the schedule.")
    schedule: Literal["cosine", "constant", "exponential"] = Field("cosine", description="Schedule of the learning rate.")
    final_rate: float = Field(0.01, gt=0, le=1, description="Final learning rate relative to the initial one.")
    warmup: int = Field(20, ge=0, le=100_000_000, description="Number of warm-up steps, during which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, le=1e3, description="Weight decay of AdamW.")
    clip: float = Field(10.0, gt=0, le=1e9, description="Largest norm of the gradient of each member.")
    energy_weight: float = Field(20.0, ge=0, le=1e9, description="Weight of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, le=1e9, description="Weight of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, le=1e9, description="Weight of the squared error of stress times volume per atom.")
    soften_force: float = Field(
        0.0, ge=0, le=1e9, description="Force scale (eV/Å) of the weights 1/(1 + (F/soften)^2) of structures; 0: equal weights."
    )
    soften_energy: float = Field(
        0.0, ge=0, le=1e9, description="Energy scale (eV/atom above the lowest structure) of the same weights; 0: equal weights."
    )
    ema: float = Field(
        0.99, ge=0, lt=1, description="Decay of the exponential moving average of the weights; 0: the last weights are used."
    )
    bootstrap: bool = Field(True, description="Whether each member of a committee gets its own random weights of the structures.")
    validation: float = Field(0.1, ge=0, le=0.5, description="Fraction of the structures held back for validation, in whole groups.")
    labels: LabelKeys = Field(default_factory=LabelKeys, description="Entries of a data file that contain the labels.")
    split_by: Line = Field("auto", description="Grouping for the validation split: auto, composition, similarity, or an entry of the file.")
    copy_species: dict[str, str] = Field(
        default_factory=dict, description="Species that start from the weights of another one, such as H = 'C' (a2a)."
    )
    freeze: list[str] = Field(default_factory=list, description="Layers or species that are kept fixed.")
    evaluate_every: int = Field(100, ge=1, le=100_000_000, description="Number of steps between evaluations.")
    patience: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="Number of evaluations without a lower validation loss after which the training stops; 0: never.",
    )
    checkpoint_every: int = Field(200, ge=1, le=100_000_000, description="Number of steps between checkpoints.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the weights.")
    device: Line = Field("cpu", description="Device of torch: cpu, cuda or another.")
    threads: int = Field(1, ge=1, le=4_096, description="Number of threads.")

    @field_validator("prior")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        return None if value is None else canonical_name(value)

    @property
    def all_stages(self) -> list[Stage]:
        """The stages, or one stage of all steps."""
        return self.stages or [Stage.model_validate({"steps": self.steps})]

    @property
    def total(self) -> int:
        """Number of steps of all stages."""
        return sum(stage.steps for stage in self.all_stages)


class TrainingSettings(BaseModel):
    """Settings of the trainings in a search."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(500, ge=1, le=100_000_000, description="Number of optimiser steps of the first training.")
    warm_steps: int = Field(
        200, ge=1, le=100_000_000, description="Number of optimiser steps in later rounds, which start from the previous weights."
    )
    batch_structures: int = Field(12, ge=1, le=1_000_000, description="Number of structures in a minibatch.")
    learning_rate: float = Field(0.01, gt=0, le=1e3, description="Initial learning rate of AdamW, which decays as a cosine.")
    warm_learning_rate: float = Field(0.005, gt=0, le=1e3, description="Initial learning rate in later rounds.")
    weight_decay: float = Field(0.1, ge=0, le=1e3, description="Weight decay of AdamW.")
    energy_weight: float = Field(20.0, ge=0, le=1e9, description="Weight of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, le=1e9, description="Weight of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, le=1e9, description="Weight of the squared error of stress times volume per atom.")
    soften_force: float = Field(3.0, gt=0, le=1e9, description="Force scale (eV/Å) of the weights 1/(1 + (F/soften)^2) of structures.")
    soften_energy: float = Field(1.5, gt=0, le=1e9, description="Energy scale (eV/atom above the lowest structure) of the same weights.")
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the exponential moving average of the weights.")
    bootstrap: bool = Field(True, description="Whether each member gets its own random weights of the structures.")

    def of_round(self, seed: int, warm: bool) -> FitSettings:
        """Return the settings of the training of a round; `warm` if it starts from the weights of the previous round."""
        shared = self.model_dump(exclude={"steps", "warm_steps", "batch_structures", "learning_rate", "warm_learning_rate"})
        return FitSettings(
            seed=seed,
            steps=self.warm_steps if warm else self.steps,
            learning_rate=self.warm_learning_rate if warm else self.learning_rate,
            batch=self.batch_structures,
            validation=0.0,
            **shared,
        )
