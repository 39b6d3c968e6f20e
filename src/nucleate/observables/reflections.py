"""Reflections of a crystal: reciprocal vectors and squared structure factors, merged over the point group."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.observables.radiation import Radiation

SYMPREC = 0.01
"""Tolerance within which reflections are merged as symmetry-equivalent, Å."""
MOST = 100_000
"""Largest number of reflections of a crystal, without Friedel pairs."""
CHUNK = 5_000_000
"""Largest number of phases that are computed at a time."""
NEGLIGIBLE = 1e-4
"""Part of the total intensity, with a Lorentz factor of 1/sin² θ, that the weakest reflections may have together to be left out."""


@dataclass(frozen=True)
class Reflections:
    """Reflections of one crystal.

    Attributes:
        vectors: (n, 3) reciprocal vectors of one reflection of each set of equivalent ones, without 2 pi, 1/Å.
        strengths: (n,) squared structure factors per cell volume, summed over the equivalent reflections, without Lorentz factor.
        strains: (d, 3, 3) orthonormal symmetric strains that keep the point group.
    """

    vectors: np.ndarray
    strengths: np.ndarray
    strains: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)


def reflections(atoms: Atoms, radiation: Radiation, largest: float, b_iso: float = 0.0, symmetry: bool = True) -> Reflections:
    """Return the reflections of a crystal.

    The intensity is that of kinematic theory, |sum_j f_j exp(-B s²) exp(2 pi i h·x_j)|², see the documentation of `Radiation`.

    Args:
        atoms: crystal, periodic in three directions.
        radiation: X-rays or neutrons.
        largest: largest length of a reciprocal vector, 1/d, 1/Å.
        b_iso: isotropic displacement parameter B of all atoms, Å².
        symmetry: whether reflections that the point group connects are merged, and the strains keep the point group. Otherwise
            only Friedel pairs are merged, and all six strains are allowed.

    Raises:
        BadInput: the crystal has more than `MOST` reflections, or an element without a scattering amplitude.
    """
    cell, scaled, numbers, dataset = primitive(atoms, symmetry)
    rotations = np.eye(3, dtype=int)[None] if dataset is None else np.unique(dataset.rotations, axis=0)
    reciprocal = np.linalg.inv(cell).T
    hkl = _half_sphere(cell, reciprocal, largest)
    vectors = hkl @ reciprocal
    s2 = (vectors**2).sum(1) / 4
    factors = np.zeros(len(hkl), dtype=complex)
    rows = max(1, CHUNK // len(numbers))
    for number in np.unique(numbers):
        own = scaled[numbers == number].T
        phases = [np.exp(2j * np.pi * (hkl[k : k + rows] @ own)).sum(1) for k in range(0, len(hkl), rows)]
        factors += radiation.amplitudes(int(number), s2) * np.concatenate([np.zeros(0, complex), *phases])
    strengths = 2 * (factors * factors.conj()).real * np.exp(-2 * b_iso * s2) / abs(np.linalg.det(cell))
    if symmetry:
        first, owner = _equivalent(hkl, rotations)
        vectors, strengths = vectors[first], np.bincount(owner, strengths, len(first))
    visible = strengths / (vectors**2).sum(1)
    order = np.argsort(visible)
    weak = np.cumsum(visible[order]) <= NEGLIGIBLE * visible.sum()
    keep = np.sort(order[~weak])
    return Reflections(vectors[keep], strengths[keep], allowed_strains(cell, rotations))


def primitive(atoms: Atoms, symmetry: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, spglib.SpglibDataset | None]:
    """Return cell (3, 3), fractional positions (n, 3) and numbers (n,) of the primitive cell, and its symmetry.

    With `symmetry`, the cell is idealised within `SYMPREC`; otherwise it is kept, and the last result is None.
    """
    crystal = (atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers)
    found = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=not symmetry, symprec=SYMPREC) or crystal
    cell, scaled, numbers = (np.asarray(part) for part in found)
    whole: Any = (cell, scaled, numbers)
    return cell, scaled, numbers, spglib.get_symmetry_dataset(whole, SYMPREC) if symmetry else None


def turned(atoms: Atoms, strain: np.ndarray) -> np.ndarray:
    """Return a strain (3, 3) of the idealised primitive cell as one of the cell that is kept, which has another orientation."""
    ideal, kept = (primitive(atoms, symmetry)[0] for symmetry in (True, False))
    # Polar decomposition: the rotation that is nearest to the map between the two cells.
    left, _, right = np.linalg.svd(np.linalg.solve(kept, ideal))
    rotation = left @ right
    result: np.ndarray = rotation @ strain @ rotation.T
    return result


def _half_sphere(cell: np.ndarray, reciprocal: np.ndarray, largest: float) -> np.ndarray:
    """Return the indices (n, 3) of the reciprocal lattice vectors up to `largest`, one of each pair h, -h and without 0."""
    most = np.floor(largest * np.linalg.norm(cell, axis=1)).astype(int)
    # The box around the sphere has about twice its volume, and more for skewed cells.
    count = 2 * math.pi / 3 * largest**3 * abs(np.linalg.det(cell))
    if count > MOST or math.prod(2 * int(m) + 1 for m in most) > 40 * MOST:
        volume = abs(np.linalg.det(cell))
        raise BadInput(
            f"a primitive cell of {volume:.0f} Å³ has about {count:.0f} reflections in the range of the data; at most "
            f"{MOST} are supported: cut the data at a smaller angle"
        )
    h, k, l = (axis.ravel() for axis in np.meshgrid(*(np.arange(-m, m + 1) for m in most), indexing="ij"))
    half = (h > 0) | ((h == 0) & (k > 0)) | ((h == 0) & (k == 0) & (l > 0))
    hkl = np.stack([h, k, l], 1)[half]
    inside: np.ndarray = hkl[((hkl @ reciprocal) ** 2).sum(1) <= largest**2]
    return inside


def _equivalent(hkl: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the first reflection of each equivalent set, and the set of every reflection.

    Rotations act on fractional coordinates as columns; hence h -> h R on rows.
    """
    most = int(np.abs(hkl).max(initial=0)) * 4 + 1
    images = np.einsum("nj,rjk->rnk", hkl, rotations)
    key = (images[..., 0] * (2 * most) + images[..., 1]) * (2 * most) + images[..., 2]
    # A set contains h and -h, so that its largest key, up to the sign, names it.
    names = np.abs(key).max(0)
    _, first, owner = np.unique(names, return_index=True, return_inverse=True)
    return first, owner


def allowed_strains(cell: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis (d, 3, 3) of the symmetric strains that are invariant under rotations given in fractional coordinates.

    Args:
        cell: (3, 3) lattice vectors as rows, Å.
        rotations: (n, 3, 3) matrices that act on fractional coordinates as columns.
    """
    turns = np.einsum("ji,rjk,kl->ril", cell, rotations, np.linalg.inv(cell).T)
    voigt = np.zeros((6, 3, 3))
    for n, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        voigt[n, i, j] = voigt[n, j, i] = 1.0 if i == j else math.sqrt(0.5)
    turned = np.einsum("rij,njk,rlk->nil", turns, voigt, turns) / len(turns)
    projector = np.einsum("nij,mij->nm", voigt, turned)
    values, vectors = np.linalg.eigh((projector + projector.T) / 2)
    basis: np.ndarray = np.einsum("nm,nij->mij", vectors[:, values > 0.5], voigt)
    return basis
