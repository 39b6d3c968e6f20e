"""Crystals, layers and clusters, told apart by the periodic directions of a structure."""

from __future__ import annotations

from ase import Atoms

PBC = {3: (True, True, True), 2: (True, True, False), 0: (False, False, False)}
"""Periodic directions by their number."""


def is_layer(atoms: Atoms) -> bool:
    """Return whether a structure is a layer: periodic along its first two lattice vectors and not along the third."""
    return bool(atoms.pbc[0] and atoms.pbc[1] and not atoms.pbc[2])


def is_cluster(atoms: Atoms) -> bool:
    """Return whether a structure is a cluster: not periodic along any lattice vector."""
    return not atoms.pbc.any()


def periodic_directions(atoms: Atoms) -> int:
    """Return the number of periodic directions: 2 for layers, 0 for clusters, and 3 for all others, which are treated as crystals."""
    return 2 if is_layer(atoms) else 0 if is_cluster(atoms) else 3
