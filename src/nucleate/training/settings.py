"""Settings of a training."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Stage(BaseModel):
    """A part of a training with weights of its own to move."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    steps: int = Field(ge=1, description="Optimiser steps.")
    train: list[str] = Field(default_factory=list, description="Layers or species that move; empty: all.")
    learning_rate: float | None = Field(None, gt=0, description="Of this stage; unset: that of the training.")


class FitSettings(BaseModel):
    """Everything that decides a training but the data."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str = Field("manybody", description="Family: manybody, a2a, molcnn, schnet, painn, soap-krr.")
    options: dict[str, Any] = Field(default_factory=dict, description="Settings of the family.")
    prior: Literal["chgnet", "sevennet"] | None = Field(None, description="Learn the difference to this pretrained potential.")
    seed: int = Field(0, ge=0, description="Of weights, split, minibatches and bootstrap.")
    steps: int = Field(2000, ge=1, description="Optimiser steps.")
    stages: list[Stage] = Field(default_factory=list, description="In place of steps: one stage after the other.")
    batch: int = Field(12, ge=1, description="Structures a step; L-BFGS takes all.")
    optimiser: Literal["adamw", "adam", "lbfgs"] = Field("adamw", description="Optimiser.")
    learning_rate: float = Field(0.005, gt=0, description="At the start of the schedule.")
    schedule: Literal["cosine", "constant", "exponential"] = Field("cosine", description="Of the learning rate.")
    final_rate: float = Field(0.01, gt=0, le=1, description="Learning rate at the end, relative to the start.")
    warmup: int = Field(20, ge=0, description="Steps in which the learning rate rises.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    clip: float = Field(10.0, gt=0, description="Longest gradient, each member.")
    energy_weight: float = Field(20.0, ge=0, description="Of the squared error of the energy per atom.")
    force_weight: float = Field(1.0, ge=0, description="Of the squared force error.")
    stress_weight: float = Field(0.5, ge=0, description="Of the squared error of stress times volume per atom.")
    soften_force: float = Field(
        0.0, ge=0, description="Structures with larger forces count less: 1/(1 + (F/soften)^2); 0: all alike, eV/Å."
    )
    ema: float = Field(0.99, ge=0, lt=1, description="Decay of the running average of weights that is kept; 0: the last weights.")
    bootstrap: bool = Field(True, description="Each member of a committee weighs the structures differently.")
    validation: float = Field(0.1, ge=0, le=0.5, description="Share of the structures held back, in whole groups.")
    split_by: str = Field("auto", description="auto, composition, similarity, or an entry of the file.")
    copy_species: dict[str, str] = Field(default_factory=dict, description="a2a: start a species from another's weights, as H = 'C'.")
    freeze: list[str] = Field(default_factory=list, description="Layers or species that never move.")
    evaluate_every: int = Field(100, ge=1, description="Steps between evaluations of the monitor.")
    patience: int = Field(0, ge=0, description="Stop after this many evaluations without a better validation loss; 0: never.")
    checkpoint_every: int = Field(200, ge=1, description="Steps between checkpoints.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of the weights.")
    device: str = Field("cpu", description="cpu, cuda, or another that torch knows.")
    threads: int = Field(1, ge=1, description="Threads.")

    @property
    def all_stages(self) -> list[Stage]:
        """The stages, or all steps as one."""
        return self.stages or [Stage.model_validate({"steps": self.steps})]

    @property
    def total(self) -> int:
        """Steps of all stages."""
        return sum(stage.steps for stage in self.all_stages)
