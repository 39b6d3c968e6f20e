"""Structures as JSON data without loss."""

from __future__ import annotations

from typing import Any

from ase import Atoms

from nucleate.crystals.batch import PBC, periodic_directions


def atoms_to_dict(atoms: Atoms) -> dict[str, Any]:
    """Return numbers, cell and positions as lists; JSON preserves floating-point numbers exactly."""
    data = {
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
    }
    directions = periodic_directions(atoms)
    return data if directions == 3 else {**data, "periodic": directions}


def atoms_from_dict(data: dict[str, Any]) -> Atoms:
    """Create atoms from the result of `atoms_to_dict`."""
    return Atoms(numbers=data["numbers"], cell=data["cell"], positions=data["positions"], pbc=PBC[data.get("periodic", 3)])
