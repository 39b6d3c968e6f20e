"""Prototypes of the AFLOW library, as pymatgen ships them.

M. J. Mehl et al., Comput. Mater. Sci. 136, S1 (2017), doi 10.1016/j.commatsci.2017.01.017. The structures are read from the installed
package.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

PLACES = ("prototypes/aflow_prototypes.json.gz", "prototypes/aflow_prototypes.json", "aflow_prototypes.json.gz", "aflow_prototypes.json")
"""Where versions of pymatgen keep the library, relative to `pymatgen.analysis`."""


@dataclass(frozen=True, eq=False)
class Prototype:
    """A structure type with the crystal that represents it.

    Attributes:
        label: label of AFLOW: stoichiometry, Pearson symbol, number of the space group and Wyckoff letters of each species.
        mineral: common name, such as `Corundum`; may be empty.
        strukturbericht: Strukturbericht symbol; may be empty.
        numbers: (N,) atomic numbers in the primitive cell.
        scaled: (N, 3) fractional positions.
        cell: (3, 3) primitive lattice vectors as rows, Å.
    """

    label: str
    mineral: str
    strukturbericht: str
    numbers: np.ndarray
    scaled: np.ndarray
    cell: np.ndarray

    @property
    def space_group(self) -> int:
        """International number of the space group."""
        return int(self.label.split("_")[2])

    @property
    def name(self) -> str:
        """Common name, Strukturbericht symbol or label, whichever is known first."""
        return self.mineral or self.strukturbericht or self.label

    @property
    def atoms(self) -> Atoms:
        """The crystal in its primitive cell."""
        return Atoms(numbers=self.numbers, scaled_positions=self.scaled, cell=self.cell, pbc=True)

    @property
    def counts(self) -> dict[str, int]:
        """Number of atoms of each element in the primitive cell."""
        symbols = self.atoms.get_chemical_symbols()
        return {symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}


@lru_cache(maxsize=1)
def read_prototypes() -> tuple[Prototype, ...]:
    """Return all prototypes, in the order of the library."""
    return tuple(_prototype(entry) for entry in _library())


def _library() -> list[dict[str, Any]]:
    """Return the entries of the library.

    The file is read as JSON: as objects of pymatgen, whose classes have changed their names between versions, it takes seconds.
    """
    found = find_spec("pymatgen.analysis")
    assert found is not None
    assert found.submodule_search_locations is not None
    for folder in found.submodule_search_locations:
        for place in PLACES:
            path = Path(folder) / place
            if path.is_file():
                data = path.read_bytes()
                entries: list[dict[str, Any]] = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
                return entries
    raise AssertionError(f"pymatgen.analysis has none of {', '.join(PLACES)}")


def _prototype(entry: dict[str, Any]) -> Prototype:
    sites, tags = entry["snl"]["sites"], entry["tags"]
    atoms = Atoms(
        # The cells of the library are primitive, and no site is shared by several elements.
        [site["species"][0]["element"] for site in sites],
        scaled_positions=[site["abc"] for site in sites],
        cell=entry["snl"]["lattice"]["matrix"],
        pbc=True,
    )
    mineral, strukturbericht = ("" if tags[key] in (None, "None") else tags[key] for key in ("mineral", "strukturbericht"))
    return Prototype(tags["aflow"], mineral, strukturbericht, atoms.numbers, atoms.get_scaled_positions(), atoms.cell.array)
