"""Reading and validation of labelled structures from extended XYZ files, ASE databases and run folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.checks import check_atoms, check_structure, settle_periodicity
from nucleate.crystals.formats import read_frames
from nucleate.errors import BadInput, quoted
from nucleate.reference.base import Label
from nucleate.reference.ledger import is_ledger, of_an_order, read_labels
from nucleate.training.label_keys import LabelKeys
from nucleate.training.labelled import LabelledStructure
from nucleate.training.suspicions import refuse_outliers

VACUUM = 12.0
"""Width of the vacuum added on every side of a molecule, Å; periodic images are then beyond the cutoff of every potential."""


def read_data(path: Path | str, keys: LabelKeys | None = None) -> list[LabelledStructure]:
    """Read all labelled structures of a file or run folder.

    Args:
        path: extended XYZ file (or another format that ASE reads with energies), an ASE database (`.db`), a ledger, or the folder of a
            search.
        keys: entries of the file that contain the labels; None uses the names of ASE.

    Raises:
        BadInput: the path does not exist or has no labels, labels have other names or are not numbers, the unit of the stress is unclear,
            atoms overlap, or an energy is far from all others; the message names the row.
    """
    path = Path(path)
    keys = keys or LabelKeys()
    if path.is_dir():
        if not (path / "run.db").is_file():
            raise BadInput(f"{path}: is not a run folder (run.db is missing); give a data file or the folder of a search")
        frames = _from_run(path / "run.db")
    elif not path.is_file():
        raise BadInput(f"{path}: no such file; give extended XYZ, an ASE database or the folder of a search")
    elif is_ledger(path):
        frames = _from_run(path)
    elif path.suffix == ".db":
        frames = _from_database(path, keys)
    else:
        frames = _from_file(path, keys)
    data = list(frames)
    if not data:
        raise BadInput(f"{path}: contains no labelled structures")
    refuse_outliers(data)
    return data


def _from_run(path: Path) -> Iterator[LabelledStructure]:
    """Iterate over the labels of a search."""
    for reference, row, label in read_labels(path):
        # Antiferromagnetic orders after a search belong to another energy surface than its labels.
        if of_an_order(row):
            continue
        info = {"reference": reference, "purpose": row.purpose}
        yield _plain(row.atoms, label.energy, label.forces, label.stress, f"{path}, row {row.number}", info)


def _from_database(path: Path, keys: LabelKeys) -> Iterator[LabelledStructure]:
    """Iterate over the rows of an ASE database."""
    from ase.db import connect

    try:
        rows = list(connect(str(path)).select())
    except Exception as error:  # ASE raises exceptions of many types for damaged databases
        raise BadInput(f"{path}: cannot be read as an ASE database ({quoted(' '.join(str(error).split()))})") from error
    for row in rows:
        atoms, where = row.toatoms(), f"{path}, row {row.id}"
        atoms.info.update(row.key_value_pairs)
        yield _checked(atoms, *keys.read(atoms, where), where, dict(row.key_value_pairs))


def _from_file(path: Path, keys: LabelKeys) -> Iterator[LabelledStructure]:
    """Iterate over the frames of a structure file."""
    for number, atoms in enumerate(read_frames(path), start=1):
        where = f"{path}, row {number}"
        yield _checked(atoms, *keys.read(atoms, where), where, dict(atoms.info))


def _checked(
    atoms: Atoms, energy: float | None, forces: np.ndarray | None, stress: np.ndarray | None, where: str, info: dict[str, Any]
) -> LabelledStructure:
    """Return a labelled structure of a file after the checks of `check_structure`; a molecule is put into a cell with vacuum."""
    if energy is None:
        raise BadInput(f"{where}: the structure has no energy; add the label or remove the row")
    check_atoms(atoms, where)
    settle_periodicity(atoms, where)
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    if atoms.cell.rank == 0:
        bare.set_cell(np.diag(np.ptp(atoms.positions, axis=0) + 2 * VACUUM))
        bare.center()
        stress = None
    check_structure(bare, where)
    return _plain(bare, energy, forces, stress, where, info)


def _plain(
    bare: Atoms, energy: float, forces: np.ndarray | None, stress: np.ndarray | None, where: str, info: dict[str, Any]
) -> LabelledStructure:
    """Return a labelled structure after checks of the shapes and values of its labels."""
    for name, array, shape in (("forces", forces, (len(bare), 3)), ("stress", stress, (6,))):
        if array is not None and np.shape(array) != shape:
            raise BadInput(f"{where}: {name} has the shape {np.shape(array)}, but {shape} is required; correct or remove the row")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stress)):
        if value is not None and not np.isfinite(value).all():
            raise BadInput(f"{where}: {name} contains a value that is not finite; correct or remove the row")
    return LabelledStructure(bare, float(energy), forces, stress, where, info)


def from_labels(structures: Sequence[Atoms], labels: Sequence[Label]) -> list[LabelledStructure]:
    """Convert labels of a reference to training data.

    Raises:
        BadInput: a label is not finite.
    """
    return [
        _plain(atoms, label.energy, label.forces, label.stress, f"label {number}", {})
        for number, (atoms, label) in enumerate(zip(structures, labels, strict=True), 1)
    ]


def heights(data: Sequence[LabelledStructure], quantile: float = 0.0) -> np.ndarray:
    """Return the (n,) reference energies relative to the lowest energy, or a quantile, of the same stoichiometry, eV/atom."""
    energy = np.array([item.labels.energy / len(item.atoms) for item in data])
    kinds = []
    for item in data:
        numbers, counts = np.unique(item.atoms.numbers, return_counts=True)
        kinds.append(str((numbers.tolist(), (counts // np.gcd.reduce(counts)).tolist())))
    names, kind = np.unique(kinds, return_inverse=True)
    lowest = np.array([np.quantile(energy[kind == k], quantile) for k in range(len(names))])
    return energy - lowest[kind]


def what_is_missing(data: Sequence[LabelledStructure]) -> list[str]:
    """Return one line for each kind of label that some structures do not have."""
    notes = []
    for name in ("forces", "stress"):
        without = sum(getattr(item, name) is None for item in data)
        if without:
            notes.append(f"{without} of {len(data)} structures have no {name}; their other labels are used")
    return notes
