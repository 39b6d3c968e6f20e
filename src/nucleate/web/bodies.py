"""Queries and bodies of requests. Unknown keys are refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Request(BaseModel):
    """Base class of queries and bodies."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Nothing(Request):
    """A request without further data."""


class EventsQuery(Request):
    """Which events are returned."""

    after: int = Field(0, ge=0, le=10**9, description="Number of events that the client has.")
    wait: float = Field(0.0, ge=0, le=25, description="Seconds to wait for a new event if there is none.")


class StructureQuery(Request):
    """Format of a structure."""

    format: Literal["cif", "extxyz", "json"] = Field(
        "json", description="cif: symmetrised conventional cell; extxyz: relaxed cell; json: conventional cell for a drawing."
    )


class PowderQuery(Request):
    """Radiation of a powder pattern."""

    wavelength: str = Field("CuKa", max_length=20, description="Wavelength in Å, or the name of an X-ray line such as CuKa or MoKa.")


class StartBody(Request):
    """A new search."""

    folder: str | None = Field(None, max_length=40, description="Id of the folder of the run; not needed if there is one.")
    profile: str | None = Field(None, max_length=200, description="Name of a profile whose settings are the defaults.")
    settings: dict[str, Any] = Field(default_factory=dict, description="Settings as in run.toml; GET /api/settings lists those allowed.")


class ResumeBody(Request):
    """How a search is resumed."""

    budget: int | None = Field(None, ge=1, le=10_000_000, description="New, larger limit of reference calls.")


class SteerBody(Request):
    """One command to a running training."""

    do: Literal["lr", "freeze", "unfreeze", "reset", "save", "stop"] = Field(description="Command, as of nucleate steer.")
    value: float | None = Field(None, gt=0, le=1e6, description="Learning rate, for lr.")
    what: str | None = Field(None, min_length=1, max_length=200, description="Layer or species, for freeze, unfreeze and reset.")


class ElectronOptions(Request):
    """How electrons are predicted."""

    temperature: float | None = Field(None, gt=0, le=1e6, description="Electronic temperature in K; default: that of the training data.")
    forces: bool = Field(False, description="Whether forces and stress are computed as well, which takes about four times as long.")


class CouplingOptions(Request):
    """Which couplings are predicted."""

    cutoff: float | None = Field(None, gt=0, le=30, description="Largest distance of a pair in Å; default: that of the training pairs.")
