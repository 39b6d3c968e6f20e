"""Parent lattice: a primitive cell in which some sites may hold several species or be vacant, with its symmetry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import spglib
from ase import Atoms
from ase.data import atomic_numbers

from nucleate.crystals.dimensions import is_cluster
from nucleate.errors import BadInput, quoted

VACANCY = "X"
"""Symbol of an empty site."""
MOST_SPECIES = 6
"""Largest number of species of a site."""
SYMMETRY_TOLERANCE = 1e-3
"""Tolerance of the positions of a parent lattice for its symmetry, Å."""


@dataclass(frozen=True)
class Parent:
    """Primitive cell whose sites have lists of allowed species.

    Attributes:
        atoms: Primitive cell with all sites filled; pbc (T, T, T) or, for layers, (T, T, F).
        species: Species that each site may hold, with `X` for a vacancy; a single one for sites that do not change.
    """

    atoms: Atoms
    species: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        if not self.active.size:
            raise BadInput("parent: no site may hold more than one species; give for example --sites Li=Li,X")

    @cached_property
    def active(self) -> np.ndarray:
        """(m,) indices of the sites that may hold several species."""
        return np.array([k for k, names in enumerate(self.species) if len(names) > 1], dtype=int)

    @property
    def allowed(self) -> tuple[tuple[str, ...], ...]:
        """Species of the active sites."""
        return tuple(self.species[k] for k in self.active)

    @property
    def names(self) -> list[str]:
        """All species of the active sites, in the order in which they were given."""
        return list(dict.fromkeys(name for names in self.allowed for name in names))

    @cached_property
    def scaled(self) -> np.ndarray:
        """(m, 3) scaled positions of the active sites."""
        result: np.ndarray = self.atoms.get_scaled_positions(wrap=False)[self.active]
        return result

    @property
    def cell(self) -> np.ndarray:
        """(3, 3) lattice vectors, rows, Å."""
        result: np.ndarray = self.atoms.cell.array
        return result

    @property
    def periodic(self) -> np.ndarray:
        """(3,) booleans, whether the lattice extends along each vector."""
        result: np.ndarray = self.atoms.pbc
        return result

    @property
    def kinds(self) -> np.ndarray:
        """(m,) number of the sublattice of each active site; sites with equal lists of species share one."""
        lists = list(dict.fromkeys(self.allowed))
        return np.array([lists.index(names) for names in self.allowed])

    @cached_property
    def operations(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Space-group operations as (rotation (3, 3), image (m,), shift (m, 3)).

        The active site s of cell n goes to the site image[s] of cell rotation @ n + shift[s].
        """
        everywhere = list(dict.fromkeys((names, self.atoms.numbers[k] if len(names) == 1 else 0) for k, names in enumerate(self.species)))
        kinds = [everywhere.index((names, self.atoms.numbers[k] if len(names) == 1 else 0)) for k, names in enumerate(self.species)]
        positions = self.atoms.get_scaled_positions(wrap=False)
        try:
            found = spglib.get_symmetry((self.cell.tolist(), positions.tolist(), [k + 1 for k in kinds]), symprec=SYMMETRY_TOLERANCE)
        except Exception:  # spglib 2.7 and later raise an exception where older versions return None
            found = None
        if found is None:
            raise BadInput("parent: spglib finds no symmetry; two sites may be closer than 0.001 Å")
        result = []
        for rotation, translation in zip(found["rotations"], found["translations"], strict=True):
            # A layer has no translations along its normal, and no rotation mixes the normal with the plane.
            across = ~self.periodic
            if across.any() and (rotation[across][:, self.periodic].any() or rotation[self.periodic][:, across].any()):
                continue
            moved = self.scaled @ rotation.T + translation
            apart = moved[:, None] - self.scaled
            whole = np.rint(apart)
            distance = np.linalg.norm((apart - whole) @ self.cell, axis=2)
            alike = (self.kinds[:, None] == self.kinds) & (distance < 10 * SYMMETRY_TOLERANCE)
            image = alike.argmax(axis=1)
            if not alike.any(axis=1).all():
                raise BadInput("parent: positions do not have the symmetry of the lattice; give them with more digits")
            shift = whole[np.arange(len(image)), image].astype(int)
            if shift[:, across].any():
                continue
            result.append((np.array(rotation, dtype=int), image, shift))
        translations = [image for rotation, image, shift in result if (rotation == np.eye(3)).all()]
        if len(translations) > 1:
            raise BadInput(f"parent: the cell contains {len(translations)} primitive cells; give a primitive one")
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return the parent as plain lists."""
        return {
            "cell": self.cell.tolist(),
            "pbc": self.periodic.tolist(),
            "positions": self.atoms.get_scaled_positions(wrap=False).tolist(),
            "species": [list(names) for names in self.species],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Parent:
        """Create a parent from the result of `as_dict`."""
        species = tuple(tuple(str(name) for name in names) for names in data["species"])
        symbols = [next((name for name in names if name != VACANCY), VACANCY) for names in species]
        atoms = Atoms(symbols, scaled_positions=data["positions"], cell=data["cell"], pbc=data["pbc"])
        return cls(atoms, species)


def make_parent(atoms: Atoms, sites: dict[str, list[str]]) -> Parent:
    """Create a parent lattice of a structure.

    Args:
        atoms: primitive cell with all sites filled.
        sites: species that may be on the sites of each element of `atoms`, for example {"Li": ["Li", "X"]}; X is a vacancy. Other elements
            do not change.

    Raises:
        BadInput: the structure is not periodic, an element of `sites` is not in it, or a list of species is not usable.
    """
    if is_cluster(atoms) or atoms.cell.rank < 3:
        raise BadInput("parent: the structure is not periodic; give a crystal, or a layer with pbc T, T, F")
    present = set(atoms.get_chemical_symbols())
    for element, names in sites.items():
        if element not in present:
            raise BadInput(f"parent: there is no {quoted(element, 20)} among its elements ({', '.join(sorted(present))})")
        wrong = [name for name in names if name != VACANCY and not atomic_numbers.get(name)]
        if wrong:
            raise BadInput(f"sites of {element}: {quoted(wrong[0], 20)} is no element; write X for a vacancy")
        if len(set(names)) != len(names) or not 2 <= len(names) <= MOST_SPECIES:
            raise BadInput(f"sites of {element}: give between 2 and {MOST_SPECIES} different species, for example {element},X")
    plain = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    return Parent(plain, tuple(tuple(sites.get(symbol, [symbol])) for symbol in atoms.get_chemical_symbols()))


def read_sites(entries: list[str]) -> dict[str, list[str]]:
    """Read entries such as 'Li=Li,X'.

    Raises:
        BadInput: an entry has another form, or an element occurs twice.
    """
    result: dict[str, list[str]] = {}
    for entry in entries:
        element, equals, names = entry.partition("=")
        element = element.strip()
        if not equals or not element or not names.strip():
            raise BadInput(f"--sites {quoted(entry, 40)}: write ELEMENT=SPECIES,SPECIES, for example Li=Li,X")
        if element in result:
            raise BadInput(f"--sites: {quoted(element, 20)} is given twice")
        result[element] = [name.strip() for name in names.split(",")]
    return result
