"""Settings of the reference."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.errors import quoted
from nucleate.persist.toml import Line
from nucleate.pretrained import NAMES, PRETRAINED, canonical_name
from nucleate.reference.hubbard import LARGEST_U, check_hubbard

ENGINES = ("gpaw", "espresso", "vasp", "cp2k", "ase")
"""Engines of a reference beside the pretrained potentials."""
Moment = Annotated[float, Field(ge=-20, le=20)]
HubbardU = Annotated[float, Field(gt=0, le=LARGEST_U)]


class ReferenceSettings(BaseModel):
    """Settings of the reference: engine, accuracy and execution."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    engine: Line = Field(
        "gpaw",
        description=f"Engine of the reference: {', '.join(ENGINES)}, or, as a surrogate in tests, {NAMES} or mace:FILE.",
    )
    preset: Literal["fast", "standard", "accurate"] = Field(
        "standard", description="Preset of cutoff, k-points and smearing, which depend on the elements."
    )
    cutoff: float | None = Field(None, gt=0, le=1e5, description="Plane-wave cutoff, eV; unset: from the preset and the elements.")
    k_spacing: float | None = Field(
        None,
        ge=0.005,
        le=10,
        description="Largest spacing of k-points, 1/Å, with the factor 2 pi in the reciprocal vectors; unset: from the preset.",
    )
    smearing: float | None = Field(None, ge=0, le=100, description="Width of the Fermi-Dirac distribution, eV; unset: from the preset.")
    xc: Line = Field("PBE", description="Exchange-correlation functional, named as in the engine.")
    dispersion: Literal["d3bj"] | None = Field(
        None, description="Dispersion correction: d3bj, D3 with Becke-Johnson damping and the parameters of xc; unset: none."
    )
    dipole_correction: bool = Field(
        False, description="Whether to correct the field across the vacuum of layers with different sides (gpaw)."
    )
    magnetic_moments: dict[str, Moment] = Field(
        default_factory=dict, description="Initial magnetic moment of each element, Bohr magnetons; empty: not spin-polarised."
    )
    hubbard_u: dict[str, HubbardU] = Field(
        default_factory=dict, description="Hubbard U (U - J) of the d or f shell of each element, eV; empty: none."
    )
    max_iterations: int = Field(100, ge=1, le=1_000_000, description="Largest number of self-consistency iterations.")
    continuation: bool | None = Field(
        None,
        description="Whether a calculation goes on from that of a structure close to it (gpaw); unset: only in `nucleate relax`.",
    )
    timeout: float | None = Field(3600.0, gt=0, le=1e7, description="Time limit of one calculation, s.")
    workers: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="Number of simultaneous calculations; 0: in this process; unset: one for each core, surrogates in this process.",
    )
    ledger: Line | None = Field(
        None,
        description="Ledger that several searches share: SQLite file, or URL of a PostgreSQL database without a password; unset: none.",
    )
    command: Line | None = Field(None, description="Command that runs the engine (espresso, vasp, cp2k).")
    pseudopotentials: dict[str, Line] = Field(default_factory=dict, description="Pseudopotential file of each element (espresso).")
    pseudo_dir: Line | None = Field(None, description="Folder of the pseudopotential files (espresso).")
    calculator: Line | None = Field(None, description="ASE calculator as 'module:Class' (ase).")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Further keywords, passed to the calculator unchanged.")

    @field_validator("engine")
    @classmethod
    def _of_the_list(cls, value: str) -> str:
        name = canonical_name(value)
        if name in PRETRAINED or (name.startswith("mace:") and name != "mace:"):
            return name
        if value.lower() not in ENGINES:
            raise ValueError(f"choose {', '.join(ENGINES)}, {NAMES} or mace:FILE")
        return value.lower()

    @field_validator("magnetic_moments", "hubbard_u", "pseudopotentials")
    @classmethod
    def _of_elements(cls, value: dict[str, Any]) -> dict[str, Any]:
        unknown = [key for key in value if not atomic_numbers.get(key)]
        if unknown:
            raise ValueError(f"'{quoted(', '.join(unknown), 40)}' is not an element; write symbols, such as Fe")
        return value

    @field_validator("hubbard_u")
    @classmethod
    def _with_a_shell(cls, value: dict[str, float]) -> dict[str, float]:
        check_hubbard(value)
        return value

    @field_validator("command")
    @classmethod
    def _words(cls, value: str | None) -> str | None:
        # shlex raises ValueError for an unclosed quotation mark.
        if value is not None and not shlex.split(value):
            raise ValueError("the command is empty; leave it out")
        return value
