"""Reading of structure files; what cannot be read exactly is refused."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from nucleate.crystals.checks import check_structure, settle_periodicity
from nucleate.crystals.formats import read_frames
from nucleate.errors import BadInput

REFUSED_SUFFIXES = {".pkl", ".pickle", ".py", ".so"}
"""Of files whose reading can run code."""
MOST_FRAMES = 100_000


def read_structures(path: str | Path) -> list[Atoms]:
    """Read all structures of a file: CIF, extended XYZ, POSCAR, pymatgen JSON, SHELX .res, CASTEP .cell, pw.x input, or others of ASE.

    Starting moments (`initial_magmoms`, magnetic CIF, MAGMOM in an INCAR beside a POSCAR) and constraints are kept; moments that are
    results (`magmoms`) are not starting moments. What is read in another way than it stands there is said with an `InputNote`.

    Raises:
        BadInput: no such file, a format or setting that cannot be read without guessing, no atoms, no cell, numbers that are not finite,
            atoms that overlap, partial occupancies; names file, structure and what to do.
    """
    path = Path(path)
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise BadInput(f"{path}: files of this kind can run code when read; convert it to CIF or extended XYZ")
    frames = read_frames(path)
    if not frames:
        raise BadInput(f"{path}: holds no structure")
    if len(frames) > MOST_FRAMES:
        raise BadInput(f"{path}: holds {len(frames)} structures; at most {MOST_FRAMES} can be read")
    for number, atoms in enumerate(frames):
        where = f"{path}, structure {number + 1}" if len(frames) > 1 else str(path)
        settle_periodicity(atoms, where)
        check_structure(atoms, where)
        # Results of another program's calculation say nothing of ours.
        atoms.calc = None
    return frames


def read_structure(path: str | Path) -> Atoms:
    """Read the only structure of a file; raises `BadInput` as `read_structures` does, and if the file contains several."""
    frames = read_structures(path)
    if len(frames) > 1:
        raise BadInput(f"{path}: holds {len(frames)} structures; give a file with one")
    return frames[0]
