"""Settings of the reference method."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.errors import quoted
from nucleate.persist.toml import Line

Moment = Annotated[float, Field(ge=-20, le=20)]


class ReferenceSettings(BaseModel):
    """Which method labels structures, and how."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    engine: Literal["gpaw", "espresso", "vasp", "cp2k", "ase", "chgnet", "sevennet"] = Field(
        "gpaw", description="Method. chgnet and sevennet are surrogates: fast stand-ins, not references."
    )
    preset: Literal["fast", "standard", "accurate"] = Field(
        "standard", description="Cutoff, k-points and smearing, chosen from the elements."
    )
    cutoff: float | None = Field(None, gt=0, le=1e5, description="Plane-wave cutoff, eV; unset: from preset and elements.")
    k_spacing: float | None = Field(
        None, ge=0.005, le=10, description="Largest distance of k-points, 1/Å, with 2 pi in the reciprocal vectors; unset: from preset."
    )
    smearing: float | None = Field(None, ge=0, le=100, description="Fermi-Dirac width, eV; unset: from preset.")
    xc: Line = Field("PBE", description="Exchange-correlation functional, by the engine's name for it.")
    magnetic_moments: dict[str, Moment] = Field(
        default_factory=dict, description="Starting moment of each element, Bohr magnetons; empty: no spin."
    )
    max_iterations: int = Field(100, ge=1, le=1_000_000, description="Self-consistency iterations after which a calculation has failed.")
    timeout: float | None = Field(3600.0, gt=0, le=1e7, description="Seconds after which one calculation is given up.")
    workers: int | None = Field(
        None, ge=0, le=1024, description="Calculations side by side; 0: in this process; unset: all cores, surrogates in this process."
    )
    command: Line | None = Field(None, description="Command that starts the engine (espresso, vasp, cp2k).")
    pseudopotentials: dict[str, Line] = Field(default_factory=dict, description="File of each element (espresso).")
    pseudo_dir: Line | None = Field(None, description="Folder of the pseudopotential files (espresso).")
    calculator: Line | None = Field(None, description="For engine ase: 'module:Class' of any ASE calculator.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Passed on to the calculator as they are.")

    @field_validator("magnetic_moments", "pseudopotentials")
    @classmethod
    def _of_elements(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = [key for key in value if not atomic_numbers.get(key)]
        if unknown:
            raise ValueError(f"{quoted(', '.join(unknown), 40)}: not an element; write symbols, as Fe")
        return value

    @field_validator("command")
    @classmethod
    def _words(cls, value: str | None) -> str | None:
        # An open quotation mark is a ValueError of shlex's.
        if value is not None and not shlex.split(value):
            raise ValueError("the command is empty; leave it out")
        return value
