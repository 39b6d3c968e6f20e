"""Structure files in and out, through ASE: CIF, extended XYZ, POSCAR and the rest ASE reads."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.io.cif import parse_cif

from nucleate.errors import BadInput

REFUSED_SUFFIXES = {".pkl", ".pickle", ".py", ".so"}


def read_structures(path: str | Path) -> list[Atoms]:
    """Every structure in a file.

    Raises:
        BadInput: no such file, a format ASE cannot read, a truncated file, no atoms, no cell,
            numbers that are not finite, partial occupancies.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file; give a CIF, extxyz or POSCAR file")
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise BadInput(f"{path}: files of this kind can run code when read; convert it to CIF or extended XYZ")
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ASE raises whatever its readers meet in a damaged file.
        raise BadInput(f"{path}: ASE cannot read it ({_first_line(error)}); is the file complete?") from error
    if not isinstance(frames, list):
        frames = [frames]
    if not frames:
        raise BadInput(f"{path}: holds no structure")
    for number, atoms in enumerate(frames):
        check_structure(atoms, where=f"{path}, structure {number + 1}")
        atoms.pbc = True
    if path.suffix.lower() == ".cif":
        _check_stated_formulas(path, frames)
    return frames


def read_structure(path: str | Path) -> Atoms:
    """The one structure of a file; raises `BadInput` as `read_structures` does, and for a file of several."""
    frames = read_structures(path)
    if len(frames) > 1:
        raise BadInput(f"{path}: holds {len(frames)} structures; give a file with one")
    return frames[0]


def require_crystal(atoms: Atoms, what: str) -> None:
    """Raise `BadInput`, beginning with `what` it is that wants one, unless the atoms are periodic in three directions."""
    if len(atoms) == 0 or not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{what}: give atoms a cell and pbc=True in three directions")


def check_structure(atoms: Atoms, where: str) -> None:
    """Raise `BadInput`, naming `where`, unless the structure is a crystal one can compute."""
    if len(atoms) == 0:
        raise BadInput(f"{where}: no atoms")
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise BadInput(f"{where}: a coordinate or cell vector is not a finite number")
    if abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{where}: no three-dimensional cell; nucleate needs a periodic crystal")
    if (atoms.numbers == 0).any():
        raise BadInput(f"{where}: an atom of unknown element (X)")
    occupancy = atoms.info.get("occupancy")
    if occupancy and any(sum(site.values()) < 0.999 or len(site) > 1 for site in occupancy.values()):
        raise BadInput(f"{where}: partly occupied sites; give an ordered structure")


def _check_stated_formulas(path: Path, frames: list[Atoms]) -> None:
    """A CIF cut between two lines still reads: only the formula that it states knows of the atoms that are gone."""
    blocks = [block for block in parse_cif(str(path)) if block.has_structure()]
    for block, atoms in zip(blocks, frames, strict=False):
        stated = str(block.get("_chemical_formula_sum", ""))
        parts = re.findall(r"([A-Z][a-z]?)(\d*)(?=\s|$)", stated)
        if " ".join(symbol + number for symbol, number in parts) != " ".join(stated.split()):
            continue
        formula = Counter({atomic_numbers.get(symbol, 0): int(number or 1) for symbol, number in parts})
        counts = Counter(atoms.numbers.tolist())
        # Some files state the whole cell, some one formula unit.
        units = {counts[z] / number for z, number in formula.items()}
        if formula and (counts.keys() != formula.keys() or len(units) > 1 or not units.pop().is_integer()):
            raise BadInput(
                f"{path}: holds {atoms.get_chemical_formula()}, which is no multiple of the formula it states, {stated};"
                " is the file complete?"
            )


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
