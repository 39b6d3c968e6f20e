"""Identity and symmetry of clusters; the counterpart of `matching` for structures without periodic directions."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from nucleate.crystals.clusters import extent
from nucleate.crystals.point_groups import linear, mapping, point_group, superpositions, symbol_of, symmetrised_positions

ALIKE = 0.3
"""Largest distance of the atoms of two superposed clusters that are the same, Å."""
ELONGATION = 0.05
"""Largest relative difference of their extents."""


def _centred(atoms: Atoms) -> np.ndarray:
    return np.asarray(atoms.positions - atoms.positions.mean(0))


def same_cluster(a: Atoms, b: Atoms) -> bool:
    """Return whether two clusters, or a cluster and the mirror image of another, can be superposed."""
    if sorted(a.numbers) != sorted(b.numbers):
        return False
    sizes = extent(a.positions), extent(b.positions)
    if abs(sizes[0] - sizes[1]) > max(ELONGATION * max(sizes), 1e-6):
        return False
    a, b = a[np.argsort(a.numbers, kind="stable")], b[np.argsort(b.numbers, kind="stable")]
    return len(superpositions(a.numbers, _centred(a), _centred(b), ALIKE, enough=1)) > 0


def cluster_group(atoms: Atoms, symprec: float) -> tuple[str, int]:
    """Return Schoenflies symbol and order of the point group within a tolerance in Å; the order is 0 for those of linear clusters."""
    positions = _centred(atoms)
    straight = linear(positions)
    operations = point_group(atoms.numbers, positions, symprec)
    return symbol_of(operations, straight), 0 if straight else len(operations)


def cluster_order(atoms: Atoms, symprec: float) -> int:
    """Return the number of operations of the point group that `point_group` finds within a tolerance in Å."""
    return len(point_group(atoms.numbers, _centred(atoms), symprec))


def cluster_sites(atoms: Atoms, symprec: float) -> int:
    """Return the number of symmetry-inequivalent atoms within a tolerance in Å."""
    positions = _centred(atoms)
    lowest = np.arange(len(atoms))
    for op in point_group(atoms.numbers, positions, symprec):
        images = mapping(atoms.numbers, positions, positions @ op.T, 2 * symprec)
        if images is not None:
            lowest = np.minimum(lowest, lowest[images])
    # Operations outside the group, at a loose tolerance, may chain atoms; each chain counts once.
    return len(np.unique(lowest[lowest]))


def symmetric_cluster(atoms: Atoms, symprec: float) -> Atoms | None:
    """Return a cluster with the symmetry that it has within a tolerance (Å) made exact, in its box; None if this fails."""
    positions = _centred(atoms)
    exact = symmetrised_positions(atoms.numbers, positions, point_group(atoms.numbers, positions, symprec), symprec)
    if exact is None:
        return None
    return Atoms(numbers=atoms.numbers, positions=exact + atoms.positions.mean(0), cell=atoms.cell.array, pbc=False)
