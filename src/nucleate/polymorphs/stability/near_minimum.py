"""Structures near a minimum whose labels determine the harmonic response: displaced and strained cells.

Half of the structures are supercells in which all atoms are displaced at random, so that one label has the response to many displacements.
Forces between atoms farther apart than half a supercell act through several images, and only their sums are determined; the supercell is
therefore that of the phonons where it is small enough. The other half are primitive cells with a strain of all six components.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.build import make_supercell

from nucleate.crystals.strain import VOIGT
from nucleate.polymorphs.stability.cost import matrix_of
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.supercells import supercell_matrix

MOST_ATOMS = 32
"""Largest number of atoms of the supercells, unless the primitive cell has more."""
SHORTEST = 5.0
"""Smallest distance of images in the supercells of a check without phonons, Å."""
AMPLITUDES = (0.03, 0.06)
"""Smallest and largest root mean square displacement of an atom, Å. Larger ones add anharmonic forces, which hide the harmonic ones."""
STRAIN = 0.01
"""Largest component of the strains, with shears as engineering strains."""
SEED = 20
"""Beginning of the random seed, which differs from that of the spot checks."""


def training_matrix(atoms: Atoms, settings: CheckSettings) -> np.ndarray:
    """Return the (3, 3) supercell of a primitive cell: that of the phonons, or the largest similar one with at most `MOST_ATOMS` atoms."""
    matrix = matrix_of(atoms, settings) if settings.phonons else supercell_matrix(atoms, SHORTEST)
    length = settings.length
    while round(abs(np.linalg.det(matrix))) * len(atoms) > MOST_ATOMS and length > 2.0:
        length -= 0.25
        matrix = supercell_matrix(atoms, length)
    return matrix if round(abs(np.linalg.det(matrix))) * len(atoms) <= MOST_ATOMS else np.eye(3, dtype=int)


def structures_near(atoms: Atoms, matrix: np.ndarray, count: int, turn: int) -> tuple[list[Atoms], list[Atoms]]:
    """Return displaced supercells and strained primitive cells, the same in every check.

    Args:
        atoms: primitive cell at the minimum.
        matrix: (3, 3) integers; the vectors of the supercell are its rows times the primitive vectors.
        count: number of structures.
        turn: number of the training, each of which has structures of its own.

    Returns:
        The structures, and for each the cell at the minimum whose k-points it has.
    """
    perfect = make_supercell(atoms, matrix)
    rng = np.random.default_rng([SEED, turn])
    strained = count // 2
    structures: list[Atoms] = []
    like = [perfect] * (count - strained) + [atoms] * strained
    for amplitude in np.geomspace(*AMPLITUDES, count - strained):
        copy: Atoms = perfect.copy()
        copy.positions += rng.normal(scale=amplitude / np.sqrt(3), size=copy.positions.shape)
        structures.append(copy)
    # Strains are the rows of random orthogonal matrices, so that six of them reach all directions evenly.
    strains: list[np.ndarray] = []
    while len(strains) < strained:
        rows, _ = np.linalg.qr(rng.normal(size=(6, 6)))
        strains += list(rows)
    for strain in strains[:strained]:
        copy = atoms.copy()
        copy.set_cell(atoms.cell.array @ (np.eye(3) + _tensor(strain * STRAIN / np.abs(strain).max())), scale_atoms=True)
        structures.append(copy)
    return structures, like


def _tensor(strain: np.ndarray) -> np.ndarray:
    """Return the (3, 3) symmetric strain of six engineering components in Voigt order."""
    tensor = np.zeros((3, 3))
    for value, (i, j) in zip(strain, VOIGT, strict=True):
        tensor[i, j] = tensor[j, i] = value if i == j else value / 2
    return tensor
