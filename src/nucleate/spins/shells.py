"""Couplings laid onto a crystal shell by shell: from numbers that were computed, predicted or printed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.dft.mapping import magnetic_sites, pairs_within

SAME = 1e-2
"""Å; pairs whose lengths differ by less are one shell."""


def on_shells(atoms: Atoms, moments: dict[str, float], strengths: Sequence[float], longest: float = 15.0) -> Couplings:
    """Isotropic couplings of the nearest, second nearest ... pairs of magnetic atoms.

    Args:
        atoms: the crystal.
        moments: of each magnetic element, Bohr magnetons.
        strengths: meV a pair, nearest shell first; positive is ferromagnetic.
        longest: where shells are sought, Å.

    Raises:
        BadInput: no magnetic atom, no strengths, or fewer shells than strengths.
    """
    if not strengths:
        raise BadInput("no couplings given; give one for each shell, nearest first")
    sites = magnetic_sites(atoms, moments)
    first, second, shifts = pairs_within(atoms, sites, longest)
    lengths = np.linalg.norm(atoms.positions[sites][second] - atoms.positions[sites][first] + shifts @ atoms.cell.array, axis=1)
    order = np.argsort(lengths)
    shell = np.empty(len(lengths), dtype=int)
    shell[order] = np.concatenate([[0], np.cumsum(np.diff(lengths[order]) > SAME)])
    if shell.max() + 1 < len(strengths):
        raise BadInput(f"{len(strengths)} couplings for the {shell.max() + 1} shells within {longest:g} Å")
    kept = shell < len(strengths)
    symbols = atoms.get_chemical_symbols()
    return Couplings.from_atoms(
        atoms, sites, np.array([moments[symbols[i]] for i in sites]), first=first[kept], second=second[kept], shifts=shifts[kept],
        tensors=tensor(np.asarray(strengths, dtype=float)[shell[kept]]),
    ).in_order()  # fmt: skip
