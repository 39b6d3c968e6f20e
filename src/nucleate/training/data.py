"""Labelled structures from extended XYZ files, ASE databases and a search's run folder, checked before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from nucleate.crystals.formula import formula_text
from nucleate.errors import BadInput
from nucleate.reference.base import Label
from nucleate.reference.ledger import read_labels
from nucleate.units import GPA

VACUUM = 12.0
"""Å around a molecule on every side: beyond the reach of any potential here."""
UNITS = {
    27.2114: "eV and hartree",
    13.6057: "eV and rydberg",
    23.0605: "eV and kcal/mol",
    96.4853: "eV and kJ/mol",
}
"""Ratios of energies that betray mixed units."""
LARGEST_STRESS = 5.0
"""eV/Å³ (800 GPa); larger ones are more likely in GPa."""


@dataclass(frozen=True)
class LabelledStructure:
    """A structure and what a reference said of it.

    Attributes:
        atoms: periodic; a molecule stands in a large empty cell.
        energy: eV.
        forces: (n_atoms, 3), eV/Å, or None.
        stress: (6,), eV/Å³, Voigt order, or None; molecules have none.
        where: file and row, for messages.
        info: what the file says besides, as group names.
        before: the labels before a prior was taken off them, if one was.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    where: str
    info: dict[str, Any]
    before: LabelledStructure | None = None

    @property
    def labels(self) -> LabelledStructure:
        """The structure with what the reference itself said."""
        return self.before or self

    @property
    def formula(self) -> str:
        """With its atom count, elements in alphabetical order."""
        symbols, counts = np.unique(self.atoms.get_chemical_symbols(), return_counts=True)
        return formula_text({str(s): int(n) for s, n in zip(symbols, counts, strict=True)})


def read_data(path: Path | str) -> list[LabelledStructure]:
    """Every labelled structure of a file or run folder.

    Args:
        path: extended XYZ (or what else ASE reads with energies), an ASE database (`.db`), or the folder of a search.

    Raises:
        BadInput: nothing there, no energies, a label that is not a number; names the row.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "run.db").is_file():
            raise BadInput(f"{path}: is a folder without a search in it (run.db is missing); give a file or a run folder")
        frames = _from_run(path / "run.db")
    elif not path.is_file():
        raise BadInput(f"{path}: no such file; give extended XYZ, an ASE database or a search's run folder")
    elif path.suffix == ".db":
        frames = _from_database(path)
    else:
        frames = _from_file(path)
    data = list(frames)
    if not data:
        raise BadInput(f"{path}: holds no labelled structure")
    return data


def _from_run(path: Path) -> Iterator[LabelledStructure]:
    for number, reference, atoms, label in read_labels(path):
        yield _checked(atoms, label.energy, label.forces, label.stress, f"{path}, row {number}", {"reference": reference})


def _from_database(path: Path) -> Iterator[LabelledStructure]:
    from ase.db import connect

    try:
        rows = list(connect(str(path)).select())
    except Exception as error:  # whatever a damaged database raises
        raise BadInput(f"{path}: cannot be read as an ASE database ({error})") from error
    for row in rows:
        atoms = row.toatoms()
        yield _checked(atoms, *_results(atoms), f"{path}, row {row.id}", dict(row.key_value_pairs))


def _from_file(path: Path) -> Iterator[LabelledStructure]:
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ASE raises whatever its readers meet in a damaged file.
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: ASE cannot read it ({text}); is the file complete?") from error
    for number, atoms in enumerate(frames if isinstance(frames, list) else [frames]):
        yield _checked(atoms, *_results(atoms), f"{path}, row {number + 1}", dict(atoms.info))


def _results(atoms: Atoms) -> tuple[float | None, np.ndarray | None, np.ndarray | None]:
    found: list[Any] = []
    for ask in (atoms.get_potential_energy, atoms.get_forces, atoms.get_stress):
        try:
            found.append(None if atoms.calc is None else ask())
        except (PropertyNotImplementedError, RuntimeError, ValueError):
            found.append(None)
    return found[0], found[1], found[2]


def _checked(
    atoms: Atoms, energy: float | None, forces: np.ndarray | None, stress: np.ndarray | None, where: str, info: dict[str, Any]
) -> LabelledStructure:
    if energy is None:
        raise BadInput(f"{where}: has no energy; label it or take it out")
    if len(atoms) == 0:
        raise BadInput(f"{where}: has no atoms")
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=True)
    if not atoms.pbc.all():
        if atoms.pbc.any():
            raise BadInput(f"{where}: is periodic in some directions only; give crystals or molecules")
        bare.set_cell(np.diag(np.ptp(atoms.positions, axis=0) + 2 * VACUUM))
        bare.center()
        stress = None
    for name, array, shape in (("forces", forces, (len(atoms), 3)), ("stress", stress, (6,))):
        if array is not None and np.shape(array) != shape:
            raise BadInput(f"{where}: {name} has the shape {np.shape(array)}, not {shape}")
    for name, value in (
        ("energy", energy),
        ("forces", forces),
        ("stress", stress),
        ("positions", bare.positions),
        ("cell", bare.cell.array),
    ):
        if value is not None and not np.isfinite(value).all():
            raise BadInput(f"{where}: {name} holds a number that is not finite; correct it or take the row out")
    if abs(np.linalg.det(bare.cell.array)) < 1e-3:
        raise BadInput(f"{where}: has no three-dimensional cell")
    return LabelledStructure(bare, float(energy), forces, stress, where, info)


def from_labels(structures: Sequence[Atoms], labels: Sequence[Label]) -> list[LabelledStructure]:
    """What a reference said of structures, as training data; raises `BadInput` naming a label that is not finite."""
    return [
        _checked(atoms, label.energy, label.forces, label.stress, f"label {number}", {})
        for number, (atoms, label) in enumerate(zip(structures, labels, strict=True), 1)
    ]


def suspicious_units(data: Sequence[LabelledStructure]) -> list[str]:
    """Evidence of mixed or wrong units, one line each; empty where nothing looks wrong."""
    said = []
    data = [item.labels for item in data]
    by_formula: dict[str, list[LabelledStructure]] = defaultdict(list)
    for item in data:
        by_formula[item.formula].append(item)
    for formula, items in by_formula.items():
        low, high = min(items, key=lambda item: abs(item.energy)), max(items, key=lambda item: abs(item.energy))
        ratio = abs(high.energy) / max(abs(low.energy), 1e-9)
        for factor, units in UNITS.items():
            if len(items) > 1 and abs(ratio / factor - 1) < 0.03 and low.energy * high.energy > 0:
                said.append(
                    f"mixed units? {low.where} and {high.where} hold {formula} with energies of {low.energy:g} and {high.energy:g}: "
                    f"a factor of {ratio:.2f}, as between {units}"
                )
                break
    largest, where = max(((float(np.abs(item.stress).max()), item.where) for item in data if item.stress is not None), default=(0.0, ""))
    if largest > LARGEST_STRESS:
        said.append(f"stress in GPa? {where} holds {largest:g}, which in eV/Å³ is {largest / GPA:.0f} GPa")
    return said


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
    """Which labels are not there, one line each."""
    said = []
    for name in ("forces", "stress"):
        without = sum(getattr(item, name) is None for item in data)
        if without:
            said.append(f"{without} of {len(data)} structures have no {name}: trained on what is there")
    return said
