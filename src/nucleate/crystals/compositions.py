"""Chemical systems such as `Mg-Si`: the compositions between end members, and the cells that contain them.

The end members of a system are elements (`Mg-Si`, `Li-Fe-O`) or compounds (`MgO-Al2O3`, a pseudo-binary). A composition belongs to the
system if it is a mixture of the end members with non-negative amounts. Its coordinates are the fractions of atoms that come from each end
member, in which the energy per atom of a mixture of phases is linear.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import gcd

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from nucleate.crystals.formula import formula_text, parse_formula
from nucleate.errors import BadInput, quoted

MOST_END_MEMBERS = 4
MOST_CELLS = 5000
"""Largest number of cells of one system."""


@dataclass(frozen=True)
class ChemicalSystem:
    """End members between which compositions are searched.

    Attributes:
        end_members: reduced compositions of the end members, `{symbol: count}` each.
    """

    end_members: tuple[dict[str, int], ...]

    @property
    def name(self) -> str:
        """End members joined by hyphens."""
        return "-".join(formula_text(member) for member in self.end_members)

    @cached_property
    def species(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(sorted({atomic_numbers[symbol] for member in self.end_members for symbol in member}))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols by ascending electronegativity, the order of formulas such as MgAl2O4."""
        from pymatgen.core import Element

        with warnings.catch_warnings():
            # Noble gases have none.
            warnings.simplefilter("ignore")
            values = {z: Element.from_Z(z).X for z in self.species}
        return tuple(chemical_symbols[z] for z in sorted(self.species, key=lambda z: values[z] if values[z] == values[z] else 9.0))

    def formula(self, counts: dict[str, int]) -> str:
        """Return a composition as a reduced formula, with the elements by ascending electronegativity."""
        divided = reduced(counts)
        return formula_text({symbol: divided[symbol] for symbol in self.symbols if divided.get(symbol, 0)})

    @cached_property
    def _columns(self) -> np.ndarray:
        """(S, K) number of atoms of each species in each end member."""
        return np.array([[member.get(chemical_symbols[z], 0) for member in self.end_members] for z in self.species], dtype=float)

    def counts(self, structures: Sequence[Atoms]) -> np.ndarray:
        """Return the (n, S) number of atoms of each species in structures."""
        return np.array([[np.count_nonzero(atoms.numbers == z) for z in self.species] for atoms in structures]).reshape(
            -1, len(self.species)
        )

    def fractions(self, counts: np.ndarray) -> np.ndarray:
        """Return the coordinates of compositions; NaN for those that are not mixtures of the end members.

        Args:
            counts: (n, S) numbers of atoms of each species.

        Returns:
            (n, K) fractions of atoms from each end member, which add up to 1.
        """
        counts = np.asarray(counts, dtype=float)
        amounts = counts @ np.linalg.pinv(self._columns).T
        wrong = (np.abs(amounts @ self._columns.T - counts).max(axis=1, initial=0.0) > 1e-6) | (amounts < -1e-9).any(axis=1)
        atoms = np.clip(amounts, 0.0, None) * self._columns.sum(axis=0)
        result: np.ndarray = atoms / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        result[wrong] = np.nan
        return result

    def contains(self, atoms: Atoms) -> bool:
        """Return whether the composition of a structure belongs to the system."""
        if not set(atoms.numbers.tolist()) <= set(self.species):
            return False
        return bool(np.isfinite(self.fractions(self.counts([atoms]))).all())

    def cells(self, max_atoms: int) -> list[dict[str, int]]:
        """Return all cells with at most `max_atoms` atoms, as `{symbol: count}`, the smallest first.

        Raises:
            BadInput: an end member does not fit, or there are more than `MOST_CELLS` cells.
        """
        for member in self.end_members:
            if sum(member.values()) > max_atoms:
                raise BadInput(
                    f"max_atoms {max_atoms}: the end member {formula_text(member)} has {sum(member.values())} atoms; increase max_atoms"
                )
        if (max_atoms + 1) ** len(self.species) > 5e6:
            raise BadInput(f"max_atoms {max_atoms}: {self.name} has too many compositions; reduce max_atoms")
        every = np.array(list(product(range(max_atoms + 1), repeat=len(self.species))))
        every = every[(every.sum(axis=1) > 0) & (every.sum(axis=1) <= max_atoms)]
        every = every[np.isfinite(self.fractions(every)).all(axis=1)]
        if len(every) > MOST_CELLS:
            raise BadInput(
                f"max_atoms {max_atoms}: {self.name} has {len(every)} cells, more than {MOST_CELLS}; reduce max_atoms, or search between "
                "compounds instead of elements"
            )
        order = [self.species.index(atomic_numbers[symbol]) for symbol in self.symbols]
        rows = every[np.argsort(every.sum(axis=1), kind="stable")][:, order]
        return [{symbol: int(n) for symbol, n in zip(self.symbols, row, strict=True) if n} for row in rows]


def reduced(counts: dict[str, int]) -> dict[str, int]:
    """Return a composition divided by its number of formula units: `{'Mg': 4, 'Si': 2}` gives `{'Mg': 2, 'Si': 1}`."""
    units = gcd(*counts.values())
    return {symbol: count // units for symbol, count in counts.items()}


def is_system(text: str) -> bool:
    """Return whether a text is a chemical system and not one formula: whether it contains a hyphen between formulas."""
    return "-" in text.strip().strip("-")


def parse_system(text: str) -> ChemicalSystem:
    """Parse a chemical system such as `Mg-Si` or `MgO-Al2O3`.

    Raises:
        BadInput: an end member is not a formula, is named twice or is a mixture of the others, or there are too many of them.
    """
    name = f"system '{quoted(text)}'"
    parts = [part.strip() for part in text.strip().split("-")]
    if not all(parts):
        raise BadInput(f"{name}: write elements or compounds with a hyphen between them, such as Mg-Si or MgO-Al2O3")
    if not 2 <= len(parts) <= MOST_END_MEMBERS:
        raise BadInput(f"{name} has {len(parts)} end members; give 2 to {MOST_END_MEMBERS}")
    members = []
    for part in parts:
        try:
            members.append(reduced(parse_formula(part)))
        except BadInput as error:
            raise BadInput(f"{name}: {error}") from None
    system = ChemicalSystem(tuple(members))
    if np.linalg.matrix_rank(system._columns) < len(members):
        raise BadInput(f"{name}: the end members are not independent, because one of them is a mixture of the others; remove it")
    return system


def between(reactants: Sequence[str], system: str | None = None) -> str:
    """Return the chemical system between reactants, such as `MgO-Al2O3`.

    Args:
        reactants: formulas of the end members.
        system: system of all their elements, if the user gives one as well.

    Raises:
        BadInput: the reactants are not independent compounds, or `system` has other elements.
    """
    found = parse_system("-".join(reactants))
    if system is not None:
        given = parse_system(system) if is_system(system) else ChemicalSystem((parse_formula(system),))
        if given.species != found.species:
            raise BadInput(f"the reactants {found.name} do not consist of the elements of '{quoted(system)}'; give one of the two")
    return found.name
