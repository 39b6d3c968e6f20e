"""Settings of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nucleate.persist.toml import Line
from nucleate.training.label_keys import LabelKeys


class Stage(BaseModel):
    """A part of a training with weights of its own to move."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1, le=100_000_000, description="Optimiser steps.")
    train: list[str] = Field(default_factory=list, description="Layers or species that move; empty: all.")
    learning_rate: float | None = Field(None, gt=0, description="Of this stage; unset: that of the training.")


class FitSettings(BaseModel):
    """Everything that decides a training but the data."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: Line = Field("manybody", description="Family: manybody, a2a, molcnn, schnet, painn, soap-krr.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of the family.")
    prior: Line | None = Field(None, description="Learn the difference to this pretrained potential: chgnet, sevennet or mace:FILE.")
    seed: int = Field(0, ge=0, lt=2**63, description="Of weights, split, minibatches and bootstrap.")
    steps: int = Field(2000, ge=1, le=100_000_000, description="Optimiser steps.")
    stages: list[Stage] = Field(default_factory=list, max_length=1000, description="In place of steps: one stage after the other.")
    batch: int = Field(12, ge=1, le=1_000_000, description="Structures a step; L-BFGS takes all.")
    optimiser: Literal["adamw", "adam", "lbfgs"] = Field("adamw", description="Optimiser.")
    learning_rate: float = Field(0.005, gt=0, description="At the start of the schedule.")
    schedule: Literal["cosine", "constant", "exponential"] = Field("cosine", description="Of the learning rate.")
    final_rate: float = Field(0.01, gt=0, le=1, description="Learning rate at the end, relative to the start.")
    warmup: int = Field(20, ge=0, le=100_000_000, description="Steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, le=1e3, description="AdamW's.")
    clip: float = Field(10.0, gt=0, le=1e9, description="Longest gradient, each member.")
    energy_weight: float = Field(20.0, ge=0, le=1e9, description="Of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, le=1e9, description="Of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, le=1e9, description="Of the squared error of stress times volume per atom.")
    soften_force: float = Field(
        0.0, ge=0, le=1e9, description="Structures with larger forces (eV/Å) count less: 1/(1 + (F/soften)^2); 0: all alike."
    )
    soften_energy: float = Field(
        0.0, ge=0, le=1e9, description="Structures this far above the lowest (eV/atom) count less as well; 0: all alike."
    )
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the running average of weights that is kept; 0: the last weights.")
    bootstrap: bool = Field(True, description="Each member of a committee weighs the structures differently.")
    validation: float = Field(0.1, ge=0, le=0.5, description="Share of the structures held back, in whole groups.")
    labels: LabelKeys = Field(default_factory=LabelKeys, description="Entries of a file that hold its labels.")
    split_by: Line = Field("auto", description="auto, composition, similarity, or an entry of the file.")
    copy_species: dict[str, str] = Field(default_factory=dict, description="a2a: start a species from another's weights, as H = 'C'.")
    freeze: list[str] = Field(default_factory=list, description="Layers or species that never move.")
    evaluate_every: int = Field(100, ge=1, le=100_000_000, description="Steps between evaluations of the monitor.")
    patience: int = Field(
        0, ge=0, le=100_000_000, description="Stop after this many evaluations without a better validation loss; 0: never."
    )
    checkpoint_every: int = Field(200, ge=1, le=100_000_000, description="Steps between checkpoints.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the weights.")
    device: Line = Field("cpu", description="cpu, cuda, or another that torch knows.")
    threads: int = Field(1, ge=1, le=4_096, description="Threads.")

    @property
    def all_stages(self) -> list[Stage]:
        """The stages, or all steps as one."""
        return self.stages or [Stage.model_validate({"steps": self.steps})]

    @property
    def total(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.all_stages)


class TrainingSettings(BaseModel):
    """How a search trains its committee, round after round."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(500, ge=1, le=100_000_000, description="Optimiser steps of the first training.")
    warm_steps: int = Field(200, ge=1, le=100_000_000, description="Optimiser steps of each later round, started from the last weights.")
    batch_structures: int = Field(12, ge=1, le=1_000_000, description="Structures a step.")
    learning_rate: float = Field(0.01, gt=0, le=1e3, description="AdamW step at the start of the cosine.")
    warm_learning_rate: float = Field(0.005, gt=0, le=1e3, description="The same for warm-started trainings.")
    weight_decay: float = Field(0.1, ge=0, le=1e3, description="AdamW weight decay.")
    energy_weight: float = Field(20.0, ge=0, le=1e9, description="Weight of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, le=1e9, description="Weight of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, le=1e9, description="Weight of the squared error of stress times volume per atom.")
    soften_force: float = Field(
        3.0, gt=0, le=1e9, description="Structures whose forces exceed this (eV/Å) count less: weight 1/(1 + (F/soften)^2)."
    )
    soften_energy: float = Field(
        1.5, gt=0, le=1e9, description="Structures this far above the lowest (eV/atom) count less, in the same way."
    )
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the running average of weights that is kept.")
    bootstrap: bool = Field(True, description="Give each member its own random weights on the labels.")

    def of_round(self, seed: int, warm: bool) -> FitSettings:
        """The settings of one training."""
        shared = self.model_dump(exclude={"steps", "warm_steps", "batch_structures", "learning_rate", "warm_learning_rate"})
        return FitSettings(
            seed=seed,
            steps=self.warm_steps if warm else self.steps,
            learning_rate=self.warm_learning_rate if warm else self.learning_rate,
            batch=self.batch_structures,
            validation=0.0,
            **shared,
        )
