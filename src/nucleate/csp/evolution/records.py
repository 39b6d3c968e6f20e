"""Family history and credit of the operators, as part of the state of a search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from ase import Atoms

from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict


@dataclass(frozen=True)
class Birth:
    """How a candidate came about.

    Attributes:
        origin: generator or operator.
        parents: names of the parents; empty for candidates of generators.
        round: round of the search.
        energy: enthalpy on the committee at the end of its first relaxation, eV/atom; None: the relaxation failed.
    """

    origin: str
    parents: tuple[str, ...]
    round: int
    energy: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return {**asdict(self), "parents": list(self.parents)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Birth:
        """Create a record from the result of `as_dict`."""
        return cls(**{**data, "parents": tuple(data["parents"])})


@dataclass
class Credit:
    """Number of children of an operator, and of those that were new low minima; both fade from round to round."""

    children: float = 0.0
    successes: float = 0.0

    @property
    def rate(self) -> float:
        """Expected rate of success: the mean of its posterior with a uniform prior."""
        return (self.successes + 1.0) / (self.children + 2.0)


@dataclass
class EvolutionRecord:
    """State of the evolution between rounds.

    Attributes:
        births: how the carried candidates, leads, polymorphs and all their ancestors came about, by name.
        credit: credit of each operator.
        met: how often relaxations of other candidates have ended in the minimum of a carried candidate, by its name.
        smaller: minima of smaller cells of the compound, of which supercells are made, the lowest first.
    """

    births: dict[str, Birth] = field(default_factory=dict)
    credit: dict[str, Credit] = field(default_factory=dict)
    met: dict[str, float] = field(default_factory=dict)
    smaller: list[Atoms] = field(default_factory=list)

    def relaxed(self, name: str, energy: float) -> None:
        """Enter the energy (eV/atom) of the first relaxation of a candidate."""
        birth = self.births.get(name)
        if birth is not None and birth.energy is None:
            self.births[name] = replace(birth, energy=energy)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all candidates but `names` and their ancestors."""
        kept: dict[str, Birth] = {}
        waiting = [name for name in names if name in self.births]
        while waiting:
            name = waiting.pop()
            if name not in kept and name in self.births:
                kept[name] = self.births[name]
                waiting += kept[name].parents
        # The order of entry does not depend on that of `names`.
        self.births = {name: birth for name, birth in self.births.items() if name in kept}
        self.met = {name: count for name, count in self.met.items() if name in kept}

    def as_dict(self) -> dict[str, Any]:
        """Return the record as a JSON-serialisable dictionary."""
        return {
            "births": {name: birth.as_dict() for name, birth in self.births.items()},
            "credit": {name: asdict(credit) for name, credit in self.credit.items()},
            "met": dict(self.met),
            "smaller": [atoms_to_dict(atoms) for atoms in self.smaller],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any] | None) -> EvolutionRecord:
        """Create a record from the result of `as_dict`; None gives an empty one."""
        if data is None:
            return cls()
        return cls(
            {name: Birth.from_dict(birth) for name, birth in data["births"].items()},
            {name: Credit(**credit) for name, credit in data["credit"].items()},
            dict(data["met"]),
            [atoms_from_dict(item) for item in data.get("smaller", [])],
        )
