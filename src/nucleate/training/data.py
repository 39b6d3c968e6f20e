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
from nucleate.reference.ledger import read_labels
from nucleate.training.label_keys import LabelKeys
from nucleate.training.labelled import LabelledStructure
from nucleate.training.suspicions import refuse_outliers

VACUUM = 12.0
"""Å around a molecule on every side: beyond the reach of any potential here."""


def read_data(path: Path | str, keys: LabelKeys | None = None) -> list[LabelledStructure]:
    """Read all labelled structures of a file or run folder.

    Args:
        path: extended XYZ (or what else ASE reads with energies), an ASE database (`.db`), or the folder of a search.
        keys: entries of a file that hold its labels; unset: as ASE names them.

    Raises:
        BadInput: nothing there, no energies, labels under other names, a label that is not a number, stress in an unknown unit, atoms that
            overlap, an energy far from all others; names the row.
    """
    path = Path(path)
    keys = keys or LabelKeys()
    if path.is_dir():
        if not (path / "run.db").is_file():
            raise BadInput(f"{path}: is a folder without a search in it (run.db is missing); give a file or a run folder")
        frames = _from_run(path / "run.db")
    elif not path.is_file():
        raise BadInput(f"{path}: no such file; give extended XYZ, an ASE database or a search's run folder")
    elif path.suffix == ".db":
        frames = _from_database(path, keys)
    else:
        frames = _from_file(path, keys)
    data = list(frames)
    if not data:
        raise BadInput(f"{path}: holds no labelled structure")
    refuse_outliers(data)
    return data


def _from_run(path: Path) -> Iterator[LabelledStructure]:
    for number, reference, atoms, label in read_labels(path):
        yield _plain(atoms, label.energy, label.forces, label.stress, f"{path}, row {number}", {"reference": reference})


def _from_database(path: Path, keys: LabelKeys) -> Iterator[LabelledStructure]:
    from ase.db import connect

    try:
        rows = list(connect(str(path)).select())
    except Exception as error:  # whatever a damaged database raises
        raise BadInput(f"{path}: cannot be read as an ASE database ({quoted(' '.join(str(error).split()))})") from error
    for row in rows:
        atoms, where = row.toatoms(), f"{path}, row {row.id}"
        atoms.info.update(row.key_value_pairs)
        yield _checked(atoms, *keys.read(atoms, where), where, dict(row.key_value_pairs))


def _from_file(path: Path, keys: LabelKeys) -> Iterator[LabelledStructure]:
    for number, atoms in enumerate(read_frames(path), start=1):
        where = f"{path}, row {number}"
        yield _checked(atoms, *keys.read(atoms, where), where, dict(atoms.info))


def _checked(
    atoms: Atoms, energy: float | None, forces: np.ndarray | None, stress: np.ndarray | None, where: str, info: dict[str, Any]
) -> LabelledStructure:
    """A structure that somebody else labelled: it is looked at as any structure that is read."""
    if energy is None:
        raise BadInput(f"{where}: has no energy; add a label or remove it")
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
    for name, array, shape in (("forces", forces, (len(bare), 3)), ("stress", stress, (6,))):
        if array is not None and np.shape(array) != shape:
            raise BadInput(f"{where}: {name} has the shape {np.shape(array)}, not {shape}")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stress)):
        if value is not None and not np.isfinite(value).all():
            raise BadInput(f"{where}: {name} contains a number that is not finite; correct it or remove the row")
    return LabelledStructure(bare, float(energy), forces, stress, where, info)


def from_labels(structures: Sequence[Atoms], labels: Sequence[Label]) -> list[LabelledStructure]:
    """Convert labels of a reference to training data; raises `BadInput` for a label that is not finite."""
    return [
        _plain(atoms, label.energy, label.forces, label.stress, f"label {number}", {})
        for number, (atoms, label) in enumerate(zip(structures, labels, strict=True), 1)
    ]


def heights(data: Sequence[LabelledStructure], quantile: float = 0.0) -> np.ndarray:
    """(n,) eV/atom above the lowest (or this quantile of the) structures of the same stoichiometry, as the reference said."""
    energy = np.array([item.labels.energy / len(item.atoms) for item in data])
    kinds = []
    for item in data:
        numbers, counts = np.unique(item.atoms.numbers, return_counts=True)
        kinds.append(str((numbers.tolist(), (counts // np.gcd.reduce(counts)).tolist())))
    names, kind = np.unique(kinds, return_inverse=True)
    lowest = np.array([np.quantile(energy[kind == k], quantile) for k in range(len(names))])
    return energy - lowest[kind]


def what_is_missing(data: Sequence[LabelledStructure]) -> list[str]:
    """Return one line for each kind of missing label."""
    said = []
    for name in ("forces", "stress"):
        without = sum(getattr(item, name) is None for item in data)
        if without:
            said.append(f"{without} of {len(data)} structures have no {name}: trained on what is there")
    return said
