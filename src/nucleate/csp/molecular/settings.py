"""Settings of a search of molecular crystals."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from pydantic import BaseModel, ConfigDict, Field, field_validator

from nucleate.errors import BadInput, quoted
from nucleate.molecules.molecule import Molecule
from nucleate.molecules.reading import read_molecule
from nucleate.molecules.topology import Topology
from nucleate.persist.toml import Line
from nucleate.reference.kpoints import VACUUM

Coordinate = Annotated[float, Field(ge=-1e3, le=1e3)]
Source = str | PathLike[str] | Atoms
"""File, SMILES or atoms of a molecule."""
MOST_ATOMS = 500
"""Largest number of atoms in a molecule."""


class MoleculeSettings(BaseModel):
    """One kind of molecule, with its geometry, so that a run folder does not depend on other files."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: Line = Field(description="Name of the molecule: the file or SMILES from which it was read.")
    count: int = Field(1, ge=1, le=100, description="Number of these molecules in a formula unit.")
    symbols: list[str] = Field(min_length=1, max_length=MOST_ATOMS, description="Elements of the atoms.")
    positions: list[tuple[Coordinate, Coordinate, Coordinate]] = Field(description="Positions of the atoms, Å.")
    bonds: list[tuple[int, int]] = Field(description="Pairs of bonded atoms, counted from 0.")

    @field_validator("symbols")
    @classmethod
    def _elements(cls, value: list[str]) -> list[str]:
        unknown = [symbol for symbol in value if not atomic_numbers.get(symbol)]
        if unknown:
            raise ValueError(f"'{quoted(unknown[0], 20)}' is not an element")
        return value

    @property
    def molecule(self) -> Molecule:
        """The molecule.

        Raises:
            BadInput: the numbers of symbols, positions and bonds do not fit, or they describe several molecules.
        """
        n = len(self.symbols)
        if len(self.positions) != n or any(not (0 <= i < n and 0 <= j < n and i != j) for i, j in self.bonds):
            raise BadInput(f"molecules: {self.name}: {n} symbols do not fit {len(self.positions)} positions and the bonds")
        atoms = Atoms(self.symbols, positions=np.array(self.positions, dtype=float))
        return Molecule.from_atoms(atoms, self.name, np.array(self.bonds, dtype=int).reshape(-1, 2))


class MolecularSettings(BaseModel):
    """Settings of a search of molecular crystals; they have no effect without molecules."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    units: int = Field(4, ge=1, le=500, description="Number of formula units in the primitive cell.")
    rigid_steps: int = Field(
        60,
        ge=0,
        le=10_000,
        description="Largest number of steps of each relaxation on the committee with rigid molecules, before all atoms move.",
    )
    relax: bool = Field(True, description="Whether each molecule is first relaxed alone on the reference.")
    distortions: int = Field(
        24, ge=4, le=1000, description="Number of distorted geometries of each isolated molecule to which its bonds and angles are fitted."
    )
    vacuum: float = Field(8.0, gt=VACUUM, le=100.0, description="Distance between the periodic images of an isolated molecule, Å.")
    molecule: list[MoleculeSettings] = Field(
        default_factory=list, max_length=10, description="Molecules; in a settings file, `source` names the file or SMILES of one."
    )

    @property
    def topology(self) -> Topology | None:
        """The molecules; None: the search is not one of molecular crystals."""
        return Topology(tuple(entry.molecule for entry in self.molecule)) if self.molecule else None

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of molecules of each kind in the primitive cell."""
        return tuple(entry.count * self.units for entry in self.molecule)

    @property
    def atoms(self) -> dict[str, int]:
        """Number of atoms of each element in the primitive cell."""
        total: Counter[str] = Counter()
        for entry, count in zip(self.molecule, self.counts, strict=True):
            for symbol in entry.symbols:
                total[symbol] += count
        # Hill's order: carbon and hydrogen first, if there is carbon, then the others by symbol.
        first = ("C", "H") if "C" in total else ()
        return {symbol: total[symbol] for symbol in sorted(total, key=lambda s: (s not in first, s))}


def entry_of(molecule: Molecule, count: int) -> dict[str, Any]:
    """Return the settings of a molecule as a dictionary."""
    return {
        "name": molecule.name, "count": count, "symbols": [chemical_symbols[z] for z in molecule.numbers],
        "positions": [[round(float(x), 6) for x in row] for row in molecule.positions], "bonds": molecule.bonds.tolist(),
    }  # fmt: skip


def with_geometries(entries: Any, source: str) -> Any:
    """Return the molecules of settings with the files and SMILES in `source` read.

    Raises:
        BadInput: a molecule cannot be read, or is given twice.
        MissingDependency: a SMILES is given and RDKit is not installed.
    """
    if not isinstance(entries, list):
        return entries
    made = []
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("source"), str):
            more = sorted(set(entry) - {"source", "count"})
            if more:
                raise BadInput(f"{source}: molecules: {quoted(', '.join(more), 80)} cannot be given beside source; remove one of them")
            entry = entry_of(read_molecule(entry["source"]), entry.get("count", 1))
        made.append(entry)
    known = [entry for entry in made if isinstance(entry, dict) and "symbols" in entry and "bonds" in entry]
    for k, one in enumerate(known):
        for other in known[:k]:
            if one["symbols"] == other["symbols"]:
                # The molecules of a crystal are told apart by the order of their elements.
                names = " and ".join(quoted(entry.get("name", ""), 40) for entry in (other, one))
                raise BadInput(
                    f"{source}: the molecules {names} have the same elements in the same order; give one molecule once, with count = 2, or "
                    "the atoms of an isomer in another order"
                )
    return made


def molecule_entries(sources: Sequence[Source] | Source, ratio: Sequence[int] | None) -> list[dict[str, Any]] | None:
    """Return the settings of molecules as dictionaries; None if none are given.

    Args:
        sources: files, SMILES or atoms; one of them is one molecule.
        ratio: number of each molecule in a formula unit; None: one.

    Raises:
        BadInput: a molecule cannot be read, or the ratio has another number of molecules.
        MissingDependency: a SMILES is given and RDKit is not installed.
    """
    if isinstance(sources, str | PathLike | Atoms):
        sources = [sources]
    if ratio is not None and len(ratio) != len(sources):
        raise BadInput(f"the ratio {':'.join(map(str, ratio))} has {len(ratio)} numbers for {len(sources)} molecules; give one for each")
    if not sources:
        return None
    counts = ratio if ratio is not None else [1] * len(sources)
    return [
        entry_of(read_molecule(source if isinstance(source, Atoms) else os.fspath(source)), int(count))
        for source, count in zip(sources, counts, strict=True)
    ]
