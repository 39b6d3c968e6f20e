"""Assign computed, predicted or published couplings to a crystal, shell by shell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.geometry import magnetic_sites, pairs_within

SAME = 1e-2
"""Distance tolerance in Å within which pairs belong to one shell."""


def on_shells(atoms: Atoms, moments: dict[str, float], strengths: Sequence[float], longest: float = 15.0) -> Couplings:
    """Return isotropic couplings for the nearest, second-nearest, ... shells of magnetic atoms.

    Args:
        atoms: Crystal structure.
        moments: Moment of each magnetic element in Bohr magnetons.
        strengths: Couplings in meV per pair, nearest shell first; positive is ferromagnetic.
        longest: Largest distance in Å at which shells are searched.

    Raises:
        BadInput: There is no magnetic atom, no strength, or there are fewer shells than strengths.
    """
    if not strengths:
        raise BadInput("no couplings are given; give one for each shell, nearest first")
    sites = magnetic_sites(atoms, moments)
    first, second, shifts = pairs_within(atoms, sites, longest)
    lengths = np.linalg.norm(atoms.positions[sites][second] - atoms.positions[sites][first] + shifts @ atoms.cell.array, axis=1)
    order = np.argsort(lengths)
    shell = np.empty(len(lengths), dtype=int)
    shell[order] = np.concatenate([[0], np.cumsum(np.diff(lengths[order]) > SAME)])
    if shell.max() + 1 < len(strengths):
        raise BadInput(f"{len(strengths)} couplings are given, but there are only {shell.max() + 1} shells within {longest:g} Å")
    kept = shell < len(strengths)
    symbols = atoms.get_chemical_symbols()
    return Couplings.from_atoms(
        atoms, sites, np.array([moments[symbols[i]] for i in sites]), first=first[kept], second=second[kept], shifts=shifts[kept],
        tensors=tensor(np.asarray(strengths, dtype=float)[shell[kept]]),
    ).in_order()  # fmt: skip
