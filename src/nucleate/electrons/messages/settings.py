"""Settings of the equivariant messages."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nucleate.persist.tensors import Positive, Whole


class MessageSettings(BaseModel):
    """Architecture of the network of the atoms and of its messages to grid points."""

    model_config = ConfigDict(extra="forbid")

    degree: Annotated[Whole, Field(ge=0, le=3)] = Field(2, description="Maximum degree l of the features of atoms, 0 to 3.")
    channels: Annotated[Whole, Field(ge=1, le=256)] = Field(16, description="Number of features of each degree.")
    layers: Annotated[Whole, Field(ge=1, le=8)] = Field(2, description="Number of exchanges of messages between atoms.")
    heads: Annotated[Whole, Field(ge=0, le=64)] = Field(
        4, description="Number of attention heads, a divisor of `channels`; 0: messages are added without attention."
    )
    cutoff: Annotated[Positive, Field(le=12)] = Field(5.0, description="Cutoff radius of messages between atoms in Å.")
    radial: Annotated[Whole, Field(ge=1, le=64)] = Field(8, description="Number of radial functions.")
    width: Annotated[Whole, Field(ge=1, le=256)] = Field(16, description="Number of messages of each degree to a grid point.")
