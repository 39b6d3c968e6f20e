"""Reading and validation of structure files. Ambiguous files are refused rather than guessed."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from nucleate.crystals.checks import VACUUM, check_structure, settle_periodicity, vacuum
from nucleate.crystals.clusters import centre_in_box
from nucleate.crystals.dimensions import is_cluster, is_layer
from nucleate.crystals.formats import read_frames
from nucleate.errors import BadInput

REFUSED_SUFFIXES = {".pkl", ".pickle", ".py", ".so"}
"""Suffixes of files that can run code when they are read."""
MOST_FRAMES = 100_000
"""Largest number of structures in one file."""


def read_structures(path: str | Path, open_directions: bool = False) -> list[Atoms]:
    """Read all structures of a file.

    Formats are CIF, extended XYZ, POSCAR, pymatgen JSON, SHELX .res, CASTEP .cell, pw.x input, and those that ASE recognises. Starting
    moments (`initial_magmoms`, magnetic CIF, MAGMOM in an INCAR beside a POSCAR) and constraints are kept; moments that are results
    (`magmoms`) are not used as starting moments. An `InputNote` reports values that are interpreted differently from the text of the file.

    Args:
        path: the file.
        open_directions: whether structures without periodic directions remain clusters, in the middle of their cell or, without one, of a
            box, and structures that are periodic in the plane of x and y alone remain layers. Otherwise all become periodic.

    Raises:
        BadInput: the file does not exist, is ambiguous or cannot be parsed, or a structure does not pass `check_structure`.
    """
    path = Path(path)
    if path.suffix.lower() in REFUSED_SUFFIXES:
        raise BadInput(f"{path}: files with the suffix '{path.suffix}' can run code when read; convert it to CIF or extended XYZ")
    frames = read_frames(path)
    if not frames:
        raise BadInput(f"{path}: contains no structures; is the file complete?")
    if len(frames) > MOST_FRAMES:
        raise BadInput(f"{path}: contains {len(frames)} structures; at most {MOST_FRAMES} can be read")
    for number, atoms in enumerate(frames):
        where = f"{path}, structure {number + 1}" if len(frames) > 1 else str(path)
        if not (open_directions and _keeps_open_directions(atoms)):
            settle_periodicity(atoms, where)
        check_structure(atoms, where)
        # Energies and forces in a file were calculated with other settings than the reference's.
        atoms.calc = None
    return frames


def _keeps_open_directions(atoms: Atoms) -> bool:
    """Return whether a structure is a cluster or layer with enough vacuum; a cluster is moved into the middle of its cell or of a box."""
    if is_cluster(atoms):
        if atoms.cell.rank == 3 and min(vacuum(atoms, axis) for axis in range(3)) < VACUUM:
            return False
        centre_in_box(atoms)
        return True
    cell = atoms.cell.array
    upright = not cell[:2, 2].any() and not cell[2, :2].any()
    return is_layer(atoms) and atoms.cell.rank == 3 and upright and vacuum(atoms, 2) >= VACUUM


def read_structure(path: str | Path) -> Atoms:
    """Read a file with exactly one structure.

    Raises:
        BadInput: as for `read_structures`, or the file contains several structures.
    """
    frames = read_structures(path)
    if len(frames) > 1:
        raise BadInput(f"{path}: contains {len(frames)} structures; give a file with one")
    return frames[0]
