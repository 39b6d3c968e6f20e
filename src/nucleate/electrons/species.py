"""What the physics has to know of each element's pseudopotential."""

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
    """A pseudopotential's ion.

    Attributes:
        symbol: element.
        charge: Z, electrons it brings.
        radius: r_loc, width of its Gaussian charge, Å.
        constant: what the engine adds to the energy of each such ion, eV: differences of grids and zero points.
    """

    symbol: str
    charge: float
    radius: float
    constant: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)


def _element(symbol: str) -> str:
    if not atomic_numbers.get(symbol):
        raise ValueError("no element")
    return symbol


Element = Annotated[str, AfterValidator(_element)]
"""A chemical symbol in a file."""


class IonHeader(BaseModel):
    """An ion as files state it; see `Ion`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    symbol: Element
    charge: float = Field(gt=0, le=118)
    radius: float = Field(ge=0, le=10)
    constant: float = 0.0


@dataclass(frozen=True)
class Ions:
    """The ions of a structure: charges (e), radii (Å), constants (eV), each (n,) float64."""

    charges: Tensor
    radii: Tensor
    constants: Tensor

    @property
    def electrons(self) -> float:
        """Electrons that they bring."""
        return float(self.charges.sum())


def check_apart(atoms: Atoms, what: str) -> None:
    """Raise `BadInput`, beginning with `what` was not asked, for atoms on top of each other."""
    try:
        refuse_overlap(atoms, what)
    except ReferenceFailed as failure:
        raise BadInput(failure.reason) from None


def ions_of(atoms: Atoms, known: dict[str, Ion]) -> Ions:
    """The ions of a structure.

    Raises:
        BadInput: an element that is not known.
    """
    symbols = atoms.get_chemical_symbols()
    missing = sorted(set(symbols) - set(known))
    if missing:
        raise BadInput(f"{', '.join(missing)}: not seen in the sampled data, which hold {', '.join(sorted(known))}")
    rows = torch.tensor([[known[s].charge, known[s].radius, known[s].constant] for s in symbols], dtype=torch.float64).reshape(-1, 3)
    return Ions(rows[:, 0], rows[:, 1], rows[:, 2])
