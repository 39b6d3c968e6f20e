"""Structures as JSON data without loss."""

from __future__ import annotations

from typing import Any

from ase import Atoms

from nucleate.crystals.dimensions import PBC, periodic_directions
from nucleate.reference.base import has_moments


def atoms_to_dict(atoms: Atoms) -> dict[str, Any]:
    """Return numbers, cell, positions and starting moments as lists; JSON preserves floating-point numbers exactly."""
    data: dict[str, Any] = {
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
    }
    if has_moments(atoms):
        data["moments"] = atoms.get_initial_magnetic_moments().tolist()
    directions = periodic_directions(atoms)
    return data if directions == 3 else {**data, "periodic": directions}


def atoms_from_dict(data: dict[str, Any]) -> Atoms:
    """Create atoms from the result of `atoms_to_dict`."""
    pbc = PBC[data.get("periodic", 3)]
    return Atoms(numbers=data["numbers"], cell=data["cell"], positions=data["positions"], pbc=pbc, magmoms=data.get("moments"))
