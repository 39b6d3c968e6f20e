"""Magnetic order of a polymorph, as a record that is converted to JSON and back without loss."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class OrderEnergy:
    """Calculation of one order of a polymorph.

    Attributes:
        name: name of the order, see `Order`.
        energy: enthalpy at the geometry of the polymorph, eV/atom; None: not calculated, or failed.
        relaxed: enthalpy after relaxation in this order, eV/atom; None: not relaxed.
        ended: order of the final moments: `name`, `FM`, `NM` or `other`; empty without a result.
        moment: mean absolute final moment of a magnetic atom, Bohr magnetons.
        net: absolute final moment of the cell, Bohr magnetons per atom.
        failure: why there is no energy, or no relaxed one; empty: it did not fail.
    """

    name: str
    energy: float | None = None
    relaxed: float | None = None
    ended: str = ""
    moment: float | None = None
    net: float | None = None
    failure: str = ""

    @property
    def lowest(self) -> float | None:
        """Relaxed enthalpy, or else that at the geometry of the polymorph, eV/atom."""
        return self.energy if self.relaxed is None else self.relaxed


@dataclass
class Magnetism:
    """Final moments of a polymorph, and the orders that were tried.

    Attributes:
        order: order of its final moments: `FM`, `FiM`, `AFM ...`, `NM` (no moments) or `other`.
        moment: mean absolute moment of a magnetic atom, Bohr magnetons.
        net: absolute moment of the cell, Bohr magnetons per atom.
        orders: orders that were tried, the ferromagnetic one first; empty: none.
        before: the polymorph as the search found it, if another order has a lower energy; see `Polymorph.set_order`.
    """

    order: str
    moment: float
    net: float
    orders: list[OrderEnergy] = field(default_factory=list)
    before: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> Magnetism | None:
        """Create a record from the result of `as_dict`."""
        return None if data is None else cls(**{**data, "orders": [OrderEnergy(**item) for item in data["orders"]]})
