"""CIF files of crystals with their space group: symmetry operations, and the atoms of the asymmetric unit."""

from __future__ import annotations

from functools import cache

import gemmi
import numpy as np
import spglib
from ase import Atoms
from ase.data import chemical_symbols

SAME_PLACE = 1e-3
"""Largest distance of an atom from an image of an atom of its orbit in the idealised cell, Å."""


def symmetric_cif(atoms: Atoms, symprec: float) -> str | None:
    """Return a CIF of the conventional cell of a crystal whose symmetry is exact but for rounding.

    The setting is the one of the International Tables that most programs assume for a group: axis b unique, second origin, hexagonal
    axes. The operations are listed, so that programs need no tables. None if the symmetry cannot be found, or if the operations would
    not reproduce the cell.

    Args:
        atoms: idealised crystal, periodic in three directions.
        symprec: distance in Å within which symmetry holds.
    """
    key = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.get_symmetry_dataset(key, symprec)
    if found is None:
        return None
    group = gemmi.get_spacegroup_reference_setting(int(found.number))
    dataset = spglib.get_symmetry_dataset(key, symprec, hall_number=_hall_number(group.number))
    if dataset is None or dataset.number != group.number:
        return None
    cell, numbers = np.asarray(dataset.std_lattice), np.asarray(dataset.std_types)
    scaled = np.asarray(dataset.std_positions) % 1.0
    # The letters belong to the atoms given, which share their primitive cell with those of the conventional one.
    letters = dict(zip(dataset.mapping_to_primitive, dataset.wyckoffs, strict=True))
    orbits = _orbits(group, cell, scaled, numbers)
    if orbits is None:
        return None
    document = gemmi.cif.Document()
    counts = {z: int((numbers == z).sum()) for z in sorted(set(numbers), key=lambda z: chemical_symbols[z])}
    block = document.add_new_block("".join(f"{chemical_symbols[z]}{count}" for z, count in counts.items()))
    _pairs(block, group, cell, counts)
    operations = block.init_loop("_space_group_symop_", ["id", "operation_xyz"])
    for k, operation in enumerate(group.operations()):
        operations.add_row([str(k + 1), gemmi.cif.quote(operation.triplet())])
    sites = block.init_loop(
        "_atom_site_",
        ["label", "type_symbol", "symmetry_multiplicity", "Wyckoff_symbol", "fract_x", "fract_y", "fract_z", "occupancy"],
    )
    for k, (atom, size) in enumerate(orbits):
        symbol = chemical_symbols[numbers[atom]]
        letter = letters[dataset.std_mapping_to_primitive[atom]]
        sites.add_row([f"{symbol}{k + 1}", symbol, str(size), letter, *(f"{x:.8f}" for x in scaled[atom]), "1"])
    return str(document.as_string())


def _pairs(block: gemmi.cif.Block, group: gemmi.SpaceGroup, cell: np.ndarray, counts: dict[int, int]) -> None:
    """Write formula, space group and cell."""
    block.set_pair("_chemical_formula_sum", gemmi.cif.quote(" ".join(f"{chemical_symbols[z]}{n}" for z, n in counts.items())))
    block.set_pair("_cell_formula_units_Z", str(int(np.gcd.reduce(list(counts.values())))))
    block.set_pair("_space_group_IT_number", str(group.number))
    block.set_pair("_space_group_name_H-M_alt", gemmi.cif.quote(group.xhm().replace(":", " :")))
    block.set_pair("_space_group_name_Hall", gemmi.cif.quote(group.hall))
    lengths = np.linalg.norm(cell, axis=1)
    for name, length in zip("abc", lengths, strict=True):
        block.set_pair(f"_cell_length_{name}", f"{length:.8f}")
    for name, i, j in (("alpha", 1, 2), ("beta", 0, 2), ("gamma", 0, 1)):
        angle = np.degrees(np.arccos(np.clip(cell[i] @ cell[j] / (lengths[i] * lengths[j]), -1.0, 1.0)))
        block.set_pair(f"_cell_angle_{name}", f"{angle:.8f}")
    block.set_pair("_cell_volume", f"{abs(np.linalg.det(cell)):.8f}")


def _orbits(group: gemmi.SpaceGroup, cell: np.ndarray, scaled: np.ndarray, numbers: np.ndarray) -> list[tuple[int, int]] | None:
    """Return an atom and the size of each orbit of the group; None if an image of an atom is missing."""
    operations = list(group.operations())
    rotations = np.array([operation.rot for operation in operations]) / gemmi.Op.DEN
    shifts = np.array([operation.tran for operation in operations]) / gemmi.Op.DEN
    free = np.ones(len(scaled), bool)
    orbits = []
    while free.any():
        first = int(np.argmax(free))
        images = rotations @ scaled[first] + shifts
        offsets = images[:, None] - scaled
        distances = np.linalg.norm((offsets - np.round(offsets)) @ cell, axis=-1)
        distances[:, numbers != numbers[first]] = np.inf
        hit = distances.argmin(axis=1)
        members = np.unique(hit)
        if distances.min(axis=1).max() > SAME_PLACE or not free[members].all():
            return None
        free[members] = False
        # Of equivalent positions the one nearest to the origin of the cell is listed.
        orbits.append((min(members, key=lambda j: (scaled[j].max().round(4), *scaled[j].round(4))), len(members)))
    return orbits


@cache
def _hall_number(number: int) -> int:
    """Return spglib's number of the reference setting of a space group: the second origin where there are two, hexagonal axes."""
    settings = [(k, spglib.get_spacegroup_type(k)) for k in range(1, 531)]
    own = [(k, setting.choice) for k, setting in settings if setting is not None and setting.number == number]
    return next((k for k, choice in own if choice == "2"), own[0][0])
