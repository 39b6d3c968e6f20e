"""Structure matching by pymatgen's StructureMatcher, and space groups by spglib; clusters have rules of their own."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import spglib
from ase import Atoms

from nucleate.crystals.dimensions import is_cluster, is_layer, periodic_directions
from nucleate.crystals.layers import heights as layer_heights
from nucleate.fingerprints.clusters import cluster_group, cluster_order, cluster_sites, same_cluster, symmetric_cluster

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

TOLERANCE = 0.03
"""Largest distance between fingerprints of one crystal. Loosely relaxed duplicates differ by up to 0.03."""
SYMPREC = 0.1
"""Tolerance for the space group of a relaxed structure, Å."""
GAP = 3.0
"""Distance of the images of a layer where two layers are compared, Å."""
EXACT = 1e-5
"""Tolerance of a symmetry that is exact up to rounding, Å."""


def matcher() -> StructureMatcher:
    """Return a StructureMatcher with length 0.2, site 0.3, angle 5 degrees: S. P. Ong et al., Comput. Mater. Sci. 68, 314 (2013)."""
    # Pymatgen takes a third of a second to import, and workers of relaxations compare no structures.
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(ltol=0.2, stol=0.3, angle_tol=5.0, primitive_cell=True, scale=True)


def same_crystal(a: Atoms, b: Atoms) -> bool:
    """Return whether two structures match and their volumes per atom agree within 10 %."""
    if periodic_directions(a) != periodic_directions(b):
        return False
    if is_cluster(a):
        return same_cluster(a, b)
    a, b = stacked(a), stacked(b)
    va, vb = a.get_volume() / len(a), b.get_volume() / len(b)
    if abs(va - vb) > 0.1 * min(va, vb):
        return False
    from pymatgen.io.ase import AseAtomsAdaptor

    one, other = (AseAtomsAdaptor.get_structure(atoms) for atoms in (a, b))
    return bool(matcher().fit(one, other))


def periodic(atoms: Atoms) -> Atoms:
    """Return a copy that is periodic in three directions; layers and clusters become cells with vacuum."""
    copy: Atoms = atoms.copy()
    copy.pbc = True
    return copy


def stacked(atoms: Atoms) -> Atoms:
    """Return a crystal of a layer, whose images are `GAP` apart; other structures are copied.

    The tolerance of the matcher grows with the volume, which for layers is mostly vacuum.
    """
    copy = periodic(atoms)
    if is_layer(atoms):
        heights = layer_heights(atoms)
        copy.set_cell([*atoms.cell.array[:2], [0.0, 0.0, float(heights.max()) + GAP]], scale_atoms=False)
        copy.positions[:, 2] = heights
    return copy


def _dataset(atoms: Atoms, symprec: float) -> spglib.SpglibDataset | None:
    """Return spglib's description of the symmetry within `symprec` (Å); None if spglib fails."""
    return spglib.get_symmetry_dataset((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec)


def space_group(atoms: Atoms, symprec: float = SYMPREC) -> tuple[str, int]:
    """Return international symbol and number of the space group, or of the layer group of a layer; ('P1', 1) if spglib fails.

    For a cluster they are the Schoenflies symbol of the point group and its number by `point_groups.number_of`.
    """
    if is_cluster(atoms):
        return cluster_group(atoms, symprec)
    if is_layer(atoms):
        return layer_group(atoms, symprec)
    dataset = _dataset(atoms, symprec)
    return ("P1", 1) if dataset is None else (dataset.international, int(dataset.number))


def layer_group(atoms: Atoms, symprec: float = SYMPREC) -> tuple[str, int]:
    """Return symbol and number, 1 to 80, of the layer group of a layer whose third lattice vector is perpendicular to it.

    The numbers are those of the International Tables, volume E.
    """
    found = spglib.get_layergroup((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), aperiodic_dir=2, symprec=symprec)
    return ("p1", 1) if found is None else (str(found.international), int(found.number))


class Symmetry(NamedTuple):
    """Order of the point group of a structure, and number of its symmetry-inequivalent atoms."""

    order: int
    sites: int


def symmetry(atoms: Atoms, symprec: float = SYMPREC) -> Symmetry:
    """Return how symmetric a structure is; if spglib fails, it has no symmetry."""
    if is_cluster(atoms):
        return Symmetry(cluster_order(atoms, symprec), cluster_sites(atoms, symprec))
    dataset = _dataset(atoms, symprec)
    if dataset is None:
        return Symmetry(1, len(atoms))
    return Symmetry(_point_group_order(dataset.hall_number), len(np.unique(dataset.crystallographic_orbits)))


@lru_cache(maxsize=600)
def _point_group_order(hall_number: int) -> int:
    operations = spglib.get_symmetry_from_database(hall_number)
    return 1 if operations is None else len(np.unique(operations["rotations"], axis=0))


def symmetrised(atoms: Atoms, symprec: float) -> tuple[Atoms, int] | None:
    """Symmetrise a structure at a loose tolerance in Å; return it in its own cell, with the number of its space group.

    The result is None if the structure has no more symmetry operations at this tolerance than at 0.1 Å.
    """
    if _operations(atoms, symprec) <= _operations(atoms, SYMPREC):
        return None
    refined = _refined(atoms, symprec)
    return None if refined is None else (refined, space_group(refined)[1])


def idealised(atoms: Atoms, symprec: float = SYMPREC, always: bool = False) -> Atoms:
    """Return a structure in its own cell with the symmetry that it has within `symprec` (Å) made exact.

    A structure without symmetry, or one for which this fails, is returned as a copy, and so is one that has all its operations within
    `EXACT`, unless `always` is set: then they hold to rounding.
    """
    refined = _refined(atoms, symprec) if always or _operations(atoms, symprec) > _operations(atoms, EXACT) else None
    if refined is None or not np.isfinite(refined.positions).all() or not np.isclose(refined.get_volume(), atoms.get_volume(), rtol=0.05):
        copy: Atoms = atoms.copy()
        return copy
    return refined


def _refined(atoms: Atoms, symprec: float) -> Atoms | None:
    """Return the structure symmetrised at a tolerance, in its own cell; None if this fails."""
    if is_cluster(atoms):
        return symmetric_cluster(atoms, symprec)
    # Imported here, because it takes a quarter of a second.
    from ase.spacegroup.symmetrize import get_symmetrized_atoms

    try:
        refined, _ = get_symmetrized_atoms(periodic(atoms), symprec, min(symprec, SYMPREC))
    except Exception:
        # At a loose tolerance the operations need not form a group; ASE and spglib then raise exceptions of many types.
        return None
    plain = Atoms(numbers=refined.numbers, cell=refined.cell.array, positions=refined.positions, pbc=atoms.pbc)
    if is_layer(atoms):
        # The symmetric cell may have a slightly different height; all layers of a search have the same one.
        plain.set_cell([*plain.cell.array[:2], atoms.cell.array[2]], scale_atoms=False)
    return plain


def _operations(atoms: Atoms, symprec: float) -> int:
    """Return the number of symmetry operations in the volume of the cell; 1 if spglib fails.

    Those that the shape of the cell does not allow count as well: a 16-atom cell of a cubic crystal need not be cubic.
    """
    if is_cluster(atoms):
        return cluster_order(atoms, symprec)
    dataset = _dataset(atoms, symprec)
    if dataset is None:
        return 1
    lattice_points = len(atoms) // (int(dataset.mapping_to_primitive.max()) + 1)
    return _point_group_order(dataset.hall_number) * lattice_points


def standard_cell(atoms: Atoms, symprec: float = SYMPREC) -> Atoms:
    """Return the symmetrised conventional cell, for files and pictures; a copy of the structure if spglib fails.

    A layer keeps its own cell, whose third vector is its normal, and a cluster its box.
    """
    if is_layer(atoms) or is_cluster(atoms):
        return periodic(idealised(atoms, symprec))
    standard = spglib.standardize_cell((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=symprec)
    if standard is None:
        result: Atoms = atoms.copy()
        return result
    cell, scaled, numbers = standard
    return Atoms(numbers=numbers, scaled_positions=scaled, cell=cell, pbc=True)
