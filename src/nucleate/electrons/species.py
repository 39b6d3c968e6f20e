"""Pseudopotential data of each element."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import torch
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor

from nucleate.errors import BadInput, ReferenceFailed
from nucleate.reference.base import refuse_overlap


@dataclass(frozen=True)
class Ion:
    """Ion of a pseudopotential.

    Attributes:
        symbol: Element symbol.
        charge: Valence charge Z.
        radius: Width r_loc of the Gaussian charge in Å.
        constant: Energy offset per ion in eV that the engine adds (differences of grids and zero points).
    """

    symbol: str
    charge: float
    radius: float
    constant: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Return a dictionary for serialisation."""
        return asdict(self)


def _element(symbol: str) -> str:
    if not atomic_numbers.get(symbol):
        raise ValueError("unknown element")
    return symbol


Element = Annotated[str, AfterValidator(_element)]
"""Chemical symbol in a file."""


class IonHeader(BaseModel):
    """Ion in file headers; see `Ion`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    symbol: Element
    charge: float = Field(gt=0, le=118)
    radius: float = Field(ge=0, le=10)
    constant: float = 0.0


@dataclass(frozen=True)
class Ions:
    """Ions of a structure: charges (e), radii (Å) and constants (eV), each (n,) float64."""

    charges: Tensor
    radii: Tensor
    constants: Tensor

    @property
    def electrons(self) -> float:
        """Number of valence electrons."""
        return float(self.charges.sum())


def check_apart(atoms: Atoms, what: str) -> None:
    """Raise `BadInput` naming `what` if atoms overlap."""
    try:
        refuse_overlap(atoms, what)
    except ReferenceFailed as failure:
        raise BadInput(failure.reason) from None


def ions_of(atoms: Atoms, known: dict[str, Ion]) -> Ions:
    """Return the ions of a structure.

    Raises:
        BadInput: An element is unknown.
    """
    symbols = atoms.get_chemical_symbols()
    missing = sorted(set(symbols) - set(known))
    if missing:
        raise BadInput(f"{', '.join(missing)}: the sampled data do not contain this element, only {', '.join(sorted(known))}")
    rows = torch.tensor([[known[s].charge, known[s].radius, known[s].constant] for s in symbols], dtype=torch.float64).reshape(-1, 3)
    return Ions(rows[:, 0], rows[:, 1], rows[:, 2])
