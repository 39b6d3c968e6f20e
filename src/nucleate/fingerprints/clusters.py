"""Identity and symmetry of clusters; the counterpart of `matching` for structures without periodic directions."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from ase import Atoms

from nucleate.crystals.clusters import extent
from nucleate.crystals.point_groups import linear, mapping, number_of, point_group, superpositions, symbol_of, symmetrised_positions

ALIKE = 0.3
"""Largest distance of the atoms of two superposed clusters that are the same, Å."""
ELONGATION = 0.05
"""Largest relative difference of their extents."""
ORDERS = {"Cinfv": 24, "Dinfh": 48}
"""Orders by which linear clusters, whose groups are infinite, are compared with others."""


def _centred(atoms: Atoms) -> np.ndarray:
    return np.asarray(atoms.positions - atoms.positions.mean(0))


@lru_cache(maxsize=512)
def _group(numbers: bytes, positions: bytes, tolerance: float) -> np.ndarray:
    """Return the point group of atoms given as bytes of int64 and float64; a search asks several times for that of one structure."""
    operations = point_group(np.frombuffer(numbers, dtype=np.int64), np.frombuffer(positions).reshape(-1, 3), tolerance)
    operations.setflags(write=False)
    return operations


def _operations(atoms: Atoms, tolerance: float) -> np.ndarray:
    return _group(np.asarray(atoms.numbers, dtype=np.int64).tobytes(), _centred(atoms).tobytes(), tolerance)


def same_cluster(a: Atoms, b: Atoms) -> bool:
    """Return whether two clusters, or a cluster and the mirror image of another, can be superposed, and have nearly the same extent."""
    if sorted(a.numbers) != sorted(b.numbers):
        return False
    sizes = extent(a.positions), extent(b.positions)
    if abs(sizes[0] - sizes[1]) > max(ELONGATION * max(sizes), 1e-6):
        return False
    a, b = a[np.argsort(a.numbers, kind="stable")], b[np.argsort(b.numbers, kind="stable")]
    return len(superpositions(a.numbers, _centred(a), _centred(b), ALIKE, enough=1)) > 0


def cluster_group(atoms: Atoms, symprec: float) -> tuple[str, int]:
    """Return Schoenflies symbol of the point group within a tolerance in Å, and its number by `number_of`."""
    symbol = symbol_of(_operations(atoms, symprec), linear(_centred(atoms), symprec))
    return symbol, number_of(symbol)


def cluster_order(atoms: Atoms, symprec: float) -> int:
    """Return the order of the point group within a tolerance in Å; for linear clusters one of `ORDERS`."""
    operations = _operations(atoms, symprec)
    straight = linear(_centred(atoms), symprec)
    return ORDERS[symbol_of(operations, straight)] if straight else len(operations)


def cluster_sites(atoms: Atoms, symprec: float) -> int:
    """Return the number of symmetry-inequivalent atoms within a tolerance in Å."""
    positions = _centred(atoms)
    if linear(positions, symprec):
        line = np.linalg.svd(positions)[2][0]
        positions = np.outer(positions @ line, line)
    lowest = np.arange(len(atoms))
    for op in _operations(atoms, symprec):
        images = mapping(atoms.numbers, positions, positions @ op.T, 2 * symprec)
        if images is not None:
            lowest = np.minimum(lowest, lowest[images])
    return len(np.unique(lowest[lowest]))


def symmetric_cluster(atoms: Atoms, symprec: float) -> Atoms | None:
    """Return a cluster with the symmetry that it has within a tolerance (Å) made exact, in its box; None if this fails."""
    exact = symmetrised_positions(atoms.numbers, _centred(atoms), _operations(atoms, symprec), symprec)
    if exact is None:
        return None
    return Atoms(numbers=atoms.numbers, positions=exact + atoms.positions.mean(0), cell=atoms.cell.array, pbc=False)
