"""Sensitivity of a fingerprint to displacements of the atoms.

The sensitivity matrix is J^T J with the derivatives J of the fingerprint with respect to the positions. Its eigenvectors of eigenvalue zero
are displacements that the fingerprint does not see; beyond the translations there should be none. B. Parsaeifard et al., Mach. Learn.: Sci.
Technol. 2, 015018 (2021), doi 10.1088/2632-2153/abb212.
"""

from __future__ import annotations

from typing import Any

import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.base import Environments, Fingerprint


def sensitivity(fingerprint: Fingerprint[Any], atoms: Atoms, step: float = 1e-4) -> Tensor:
    """Return the singular values of the derivatives of a fingerprint, by central differences in double precision.

    Args:
        fingerprint: fingerprint; those of atoms are taken together as one vector.
        atoms: structure of n atoms.
        step: displacement, Å.

    Returns:
        (3 n,) singular values in descending order, 1/Å for a fingerprint without units.
    """
    n = len(atoms)
    moved = []
    for sign in (1, -1):
        for k in range(3 * n):
            copy: Atoms = atoms.copy()
            copy.positions.flat[k] += sign * step
            moved.append(copy)
    described = fingerprint.describe(CrystalBatch.from_atoms(moved))
    rows = described.rows.reshape(6 * n, -1) if isinstance(described, Environments) else described
    derivative = (rows[: 3 * n] - rows[3 * n :]).double() / (2 * step)
    values: Tensor = torch.linalg.svdvals(derivative)
    return torch.cat([values, values.new_zeros(3 * n - len(values))])
