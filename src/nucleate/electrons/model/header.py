"""Headers of model files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nucleate.electrons.descriptors.bispectrum import LARGEST
from nucleate.electrons.levels.zero import Zero
from nucleate.electrons.messages.settings import MessageSettings
from nucleate.electrons.species import IonHeader
from nucleate.persist.tensors import Finite, Positive, Whole

VERSION = 2
Channel = Literal["total", "spin", "occupied"]
"""What outputs of a network are: local density of states, that of spin up minus spin down, or the part of occupied levels."""
TOTAL: tuple[Channel, ...] = ("total",)
TOGETHER: tuple[tuple[Channel, ...], ...] = (TOTAL, ("total", "spin"), ("total", "occupied"))
"""Outputs that a network can have, in this order."""


class PowerHeader(BaseModel):
    """Settings of the power spectrum in file headers."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["power"]
    n_species: Annotated[Whole, Field(ge=1, le=118)]
    cutoff: Annotated[Positive, Field(le=30)]
    radial: Annotated[Whole, Field(ge=1, le=256)]
    degree: Annotated[Whole, Field(ge=0, le=12)]
    cubic: Annotated[bool, Field(strict=True)]


class BispectrumHeader(BaseModel):
    """Settings of the bispectrum in file headers."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["bispectrum"]
    n_species: Annotated[Whole, Field(ge=1, le=118)]
    cutoff: Annotated[Positive, Field(le=30)]
    twojmax: Annotated[Whole, Field(ge=0, le=LARGEST)]
    rfac0: Finite
    rmin0: Finite
    weights: list[Finite] = Field(max_length=118)


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")

    features: Annotated[Whole, Field(ge=1, le=10**8)]
    outputs: Annotated[Whole, Field(ge=2, le=10**6)]
    hidden: list[Annotated[Whole, Field(ge=1, le=10**6)]] = Field(max_length=100)
    members: Annotated[Whole, Field(ge=1, le=1000)]
    messages: MessageSettings | None = None


class EngineHeader(BaseModel):
    """Engine of the training data; additional settings are kept."""

    model_config = ConfigDict(extra="allow")

    engine: str = Field(max_length=200)
    functional: str = Field(max_length=200)
    pseudopotential: str = Field(max_length=200)
    cutoff: Positive | None = None


class _Facts(BaseModel):
    """Errors and costs of a training; only fields used by commands are typed."""

    model_config = ConfigDict(extra="allow")

    temperature: Positive | None = None
    errors: dict[str, Any] | None = None
    gap: Positive | None = None
    edges: tuple[Finite, Finite] | None = None


class ModelHeader(BaseModel):
    """Header of a model file."""

    model_config = ConfigDict(extra="forbid")

    version: Whole
    descriptor: Annotated[PowerHeader | BispectrumHeader, Field(discriminator="name")]
    network: _Network
    sigma: Positive
    ions: list[IonHeader] = Field(min_length=1, max_length=118)
    spacing: Annotated[Positive, Field(le=10)]
    engine: EngineHeader
    facts: _Facts
    # Version 1 knew this zero alone.
    zero: Zero = "potential"
    channels: tuple[Channel, ...] = Field(TOTAL, max_length=3)
