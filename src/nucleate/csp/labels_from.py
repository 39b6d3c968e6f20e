"""Labels from other calculations: run folders and ledgers, which state the settings of their reference, and files, which do not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.data import chemical_symbols

from nucleate.crystals.clusters import extent, in_cube
from nucleate.crystals.dimensions import periodic_directions
from nucleate.csp.known import Known, covers
from nucleate.csp.records import Polymorph
from nucleate.csp.run_data import read_run
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import BadInput, quoted
from nucleate.fingerprints.selection import distinct
from nucleate.generate.clusters import SWELLING, diameter_of
from nucleate.generate.seeds import in_cell_of
from nucleate.persist.toml import read_settings, validated
from nucleate.pretrained import shown_name
from nucleate.progress import Note, Progress, silent
from nucleate.reference.base import Reference
from nucleate.reference.build import make_reference
from nucleate.reference.ledger import MOLECULE, is_ledger, read_references
from nucleate.reference.settings import ReferenceSettings
from nucleate.training.data import read_data
from nucleate.training.labelled import LabelledStructure

HANDED_ON = 3
"""Number of minima of smaller cells that are labelled first as supercells; the others are parents of supercells."""


def labels_known(settings: RunSettings, reference: Reference, progress: Progress = silent) -> tuple[Known, list[LabelledStructure]]:
    """Read the labels of `teacher.labels_from`.

    Args:
        settings: settings of the search.
        reference: reference of the search.
        progress: called with a `Note` for each path of which some structures contain other elements and are not used.

    Returns:
        Labels of the reference and confirmed polymorphs of the same cell and of cells of which it is a supercell, and the labels of another
        method, with unknown settings.

    Raises:
        BadInput: a path cannot be read, its labels were calculated with other settings (the message names them), or none of its structures
            consists of elements of the search.
    """
    teacher = settings.teacher
    labels: list[LabelledStructure] = []
    others: list[LabelledStructure] = []
    minima: list[Atoms] = []
    smaller: list[tuple[float, Atoms]] = []
    for name in teacher.labels_from:
        path = Path(name)
        ledger = path / "run.db" if path.is_dir() else path
        if is_ledger(ledger):
            for stored in read_references(ledger):
                refuse_other_settings(path, *stored, reference)
            labels += _usable(read_data(path), settings, path, progress)
            if path.is_dir():
                minima += _minima(path, settings)
                smaller += _smaller(path, settings)
        elif teacher.labels_settings is not None:
            stated = _stated(Path(teacher.labels_settings))
            refuse_other_settings(Path(teacher.labels_settings), stated.name, stated.settings(), reference)
            labels += _usable(read_data(path), settings, path, progress)
        else:
            others += _usable(read_data(path), settings, path, progress)
    if others and settings.molecules.molecule:
        raise BadInput(
            f"{', '.join(teacher.labels_from)}: labels of another method contain the energies of its molecules, which a search of "
            "molecular crystals does not subtract; give labels_settings, or use the method as a teacher"
        )
    if others:
        _refuse_missing_elements(others, settings.species, teacher.labels_from)
    # The best that smaller cells have is labelled in the larger one as well, so that other candidates are compared with it.
    ordered = [atoms for _, atoms in sorted(smaller, key=lambda item: item[0])]
    heads = [ordered[k] for k in distinct(ordered, settings.species)]
    minima += [in_cell_of(atoms, settings.counts, "a minimum of a smaller cell") for atoms in heads[:HANDED_ON]]
    return Known(labels=labels, minima=minima, own_minima=len(minima), smaller=heads), others


def refuse_other_settings(path: Path, name: str, then: dict[str, Any], reference: Reference) -> None:
    """Raise `BadInput`, naming the settings that differ, unless labels were calculated with those of the reference."""
    now = json.loads(json.dumps(reference.settings(), sort_keys=True, default=str))
    then = json.loads(json.dumps(then, sort_keys=True, default=str))
    if name != reference.name:
        names = f"{quoted(shown_name(name))}, but the reference is {quoted(shown_name(reference.name))}"
        raise BadInput(f"{path}: the labels are by {names}; their energies cannot be mixed")
    changed = sorted(key for key in {*then, *now} if then.get(key) != now.get(key))
    if changed:
        parts = ", ".join(f"{key} ({quoted(then.get(key), 40)}, the search has {quoted(now.get(key), 40)})" for key in changed[:3])
        raise BadInput(f"{path}: the labels were calculated with another {parts}; use the same settings, or give the labels as a file")


def _usable(data: list[LabelledStructure], settings: RunSettings, path: Path, progress: Progress) -> list[LabelledStructure]:
    """Return the structures of which the committee can learn: those of the elements and, if there are molecules, of the molecules.

    Raises:
        BadInput: there are none.
    """
    kept = _of_elements(data, settings.species, path, progress)
    topology = settings.molecules.topology
    if topology is None:
        return kept
    # The force field of the molecules contains the energies of isolated ones.
    kept = [item for item in kept if item.info.get("purpose") != MOLECULE]
    made = [item for item in kept if topology.blocks(item.atoms.numbers) is not None]
    if not made:
        names = " and ".join(molecule.formula for molecule in topology.molecules)
        raise BadInput(f"{path}: none of its structures consists of {names} with their atoms one after another; leave it out")
    if len(made) < len(kept):
        progress(Note(f"{path}: {len(kept) - len(made)} of {len(kept)} structures consist of other molecules and are not used"))
    return made


def _of_elements(data: list[LabelledStructure], species: Sequence[int], path: Path, progress: Progress) -> list[LabelledStructure]:
    """Return the structures that consist of elements of the search; raise `BadInput` if there are none."""
    kept = [item for item in data if set(item.atoms.numbers.tolist()) <= set(species)]
    if not kept:
        symbols = ", ".join(chemical_symbols[z] for z in species)
        raise BadInput(f"{path}: none of its {len(data)} structures consists of {symbols} only; leave it out")
    if len(kept) < len(data):
        progress(Note(f"{path}: {len(data) - len(kept)} of {len(data)} structures contain other elements and are not used"))
    return kept


def _refuse_missing_elements(data: list[LabelledStructure], species: Sequence[int], paths: Sequence[str]) -> None:
    """Raise `BadInput` unless labels of another method contain all elements of the search."""
    if not covers(data, species):
        present = {int(z) for item in data for z in item.atoms.numbers}
        missing = ", ".join(chemical_symbols[z] for z in species if z not in present)
        raise BadInput(f"{', '.join(paths)}: none of the structures contains {missing}; a surface to correct needs all elements")


def _found(path: Path) -> list[Polymorph]:
    """Return the minima of a run folder as its search found them, without the magnetic orders that replaced them."""
    state = read_run(path).state
    for polymorph in state.polymorphs:
        polymorph.set_order(None)
    return state.minima()


def _minima(path: Path, settings: RunSettings) -> list[Atoms]:
    """Return the confirmed polymorphs of a run folder that have the composition of the search cell, lowest first."""
    minima = [polymorph.atoms for polymorph in _found(path)]
    if settings.system is not None:
        return [atoms for atoms in minima if len(atoms) <= settings.hull.max_atoms and settings.system.contains(atoms)]
    own, topology = Counter(settings.counts), settings.molecules.topology
    minima = [atoms for atoms in minima if Counter(atoms.get_chemical_symbols()) == own]
    if topology is not None:
        return [atoms for atoms in minima if topology.others(atoms) is None and topology.blocks(atoms.numbers) is not None]
    # Crystals, layers and clusters are not searched together; layers of one search have one height.
    minima = [atoms for atoms in minima if periodic_directions(atoms) == settings.dimensions]
    if settings.dimensions == 3:
        return minima
    height = settings.layers.thickness + settings.layers.vacuum
    if settings.dimensions == 0:
        diameter = diameter_of(settings.counts, settings.clusters.diameter, settings.generate)
        box = diameter + settings.clusters.vacuum
        return [in_cube(atoms, box) for atoms in minima if extent(atoms.positions) <= diameter + SWELLING]
    return [atoms for atoms in minima if abs(atoms.cell.array[2, 2] - height) < 1e-6]


def _smaller(path: Path, settings: RunSettings) -> list[tuple[float, Atoms]]:
    """Return energies per atom and structures of the confirmed polymorphs of a run folder of which the search cell is a supercell."""
    if settings.system is not None or settings.molecules.molecule or settings.dimensions != 3:
        return []
    own, size = settings.counts, sum(settings.counts.values())
    found = []
    for polymorph in _found(path):
        atoms, counts = polymorph.atoms, Counter(polymorph.atoms.get_chemical_symbols())
        copies, left = divmod(size, len(atoms))
        fits = copies > 1 and not left and all(copies * counts[symbol] == number for symbol, number in own.items())
        if fits and periodic_directions(atoms) == 3:
            found.append((polymorph.energy, atoms))
    return found


def _stated(path: Path) -> Reference:
    """Return the reference that the table [reference] of a TOML file describes."""
    data = read_settings(path)
    if set(data) != {"reference"}:
        raise BadInput(f"{path}: must contain the table [reference] with the settings of the labels, and nothing else")
    return make_reference(validated(ReferenceSettings, data["reference"], f"{path}: [reference]"))
