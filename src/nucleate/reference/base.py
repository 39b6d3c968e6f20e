"""The contract every reference keeps: a structure in, energy, forces and stress out, or `ReferenceFailed`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce
from ase.neighborlist import neighbor_list

from nucleate.errors import ReferenceFailed

CLOSEST = 0.5
"""Å; structures with nearer pairs than this are refused before an engine is asked."""
FLATTEST = 45.0
"""Degrees; the smallest angle between cell vectors that is left as it is."""


@dataclass(frozen=True)
class Label:
    """One reference result.

    Attributes:
        energy: total energy of the cell, eV (extrapolated to zero smearing where the engine smears).
        forces: (n_atoms, 3), eV/Å.
        stress: (6,), eV/Å³, ASE's sign (tension positive) and Voigt order xx, yy, zz, yz, xz, xy.
        iterations: self-consistency iterations, 0 where the method has none.
        core_seconds: CPU time spent, seconds times cores.
        details: what else the engine says (JSON-serialisable), for instance magnetic moments.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    iterations: int = 0
    core_seconds: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Reference(Protocol):
    """A method that labels structures. Picklable, so that worker processes can hold a copy."""

    name: str
    surrogate: bool

    def settings(self) -> dict[str, Any]:
        """Everything that decides the result, JSON-serialisable: part of the ledger's hash."""
        ...

    def label(self, atoms: Atoms) -> Label:
        """Energy, forces and stress of one structure. Raises `ReferenceFailed` with the engine's words."""
        ...


def content_hash(atoms: Atoms, settings: dict[str, Any]) -> str:
    """SHA-256 of a structure and a reference's settings: the key of the ledger.

    Numbers, cell, positions (to 1e-6 Å), periodicity, starting moments other than zero and settings enter; tags, names and info do not.
    """
    digest = hashlib.sha256()
    digest.update(np.asarray(atoms.numbers, dtype="<i4").tobytes())
    for array in (atoms.cell.array, atoms.positions):
        # Adding 0.0 turns -0.0 into 0.0, which would hash differently.
        digest.update((np.round(np.asarray(array, dtype="<f8"), 6) + 0.0).tobytes())
    digest.update(np.asarray(atoms.pbc, dtype="u1").tobytes())
    if has_moments(atoms):
        digest.update((np.round(atoms.get_initial_magnetic_moments().astype("<f8"), 3) + 0.0).tobytes())
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def has_moments(atoms: Atoms) -> bool:
    """Whether the structure carries starting moments of its own."""
    return bool(np.abs(atoms.get_initial_magnetic_moments()).max(initial=0) > 0)


def start_moments(atoms: Atoms, of_elements: dict[str, float]) -> bool:
    """Give atoms the moments of their elements, unless they carry some of their own; whether the calculation has spins."""
    if of_elements and not has_moments(atoms):
        atoms.set_initial_magnetic_moments([of_elements.get(symbol, 0.0) for symbol in atoms.get_chemical_symbols()])
    return has_moments(atoms)


def on_short_vectors(atoms: Atoms) -> Atoms:
    """A copy, periodic; a cell with an angle below 45 or above 135 degrees is put on the shortest vectors of its lattice.

    Energy, forces and stress are the same, but engines need more plane waves and k-points for flat cells, and GPAW warns of wrong results.
    Others keep their vectors: a strain of some percent must not change the grid of k-points.
    """
    copy = atoms.copy()
    copy.pbc = True
    angles = copy.cell.angles()
    if angles.min() < FLATTEST or angles.max() > 180 - FLATTEST:
        copy.set_cell(minkowski_reduce(copy.cell)[0], scale_atoms=False)
    return copy


def refuse_overlap(atoms: Atoms, engine: str) -> None:
    """Raise `ReferenceFailed` for atoms so close that an engine would run for long and answer nonsense."""
    distances = neighbor_list("d", atoms, CLOSEST)
    if len(distances):
        raise ReferenceFailed(f"{engine} not asked: two atoms are {distances.min():.2f} Å apart")
