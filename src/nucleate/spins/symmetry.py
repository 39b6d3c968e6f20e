"""Symmetry-equivalent pairs of magnetic sites and symmetrisation of couplings.

An operation that maps (i, j) to (i', j') transforms a coupling tensor to R J R^T with the Cartesian matrix R. Spins are axial vectors, so
an inversion contained in R does not change the sign. Operations come from spglib (A. Togo et al., doi 10.1080/27660400.2024.2384822).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import spglib
from ase import Atoms

from nucleate.errors import BadInput, NucleateError
from nucleate.spins.couplings import Couplings

TOLERANCE = 1e-3
"""Å."""
EDGE = 1e-6
"""Fractional tolerance below the upper cell boundary within which positions are wrapped to zero."""


@dataclass(frozen=True)
class Operations:
    """Action of symmetry operations on pairs.

    Attributes:
        target: (o, p) index of the image of each pair.
        mirrored: (o, p) whether the image is the reverse pair (j, i, -R).
        rotations: (o, 3, 3) Cartesian rotation matrices.
    """

    target: np.ndarray
    mirrored: np.ndarray
    rotations: np.ndarray

    def images(self, tensors: np.ndarray) -> np.ndarray:
        """Return (o, p, 3, 3): for each operation and pair, the tensor of the image rotated back to the pair."""
        found = tensors[self.target]
        found = np.where(self.mirrored[..., None, None], found.swapaxes(-1, -2), found)
        return np.einsum("oba,opbc,ocd->opad", self.rotations, found, self.rotations)


@dataclass(frozen=True)
class PairMap:
    """Action of the space group on pairs.

    Attributes:
        translations: Translations of the primitive lattice inside the cell.
        turns: One operation for each rotation of the primitive cell.
        orbit: (p,) index of the class of equivalent pairs.
    """

    translations: Operations
    turns: Operations
    orbit: np.ndarray


def pair_map(
    atoms: Atoms, sites: np.ndarray, first: np.ndarray, second: np.ndarray, shifts: np.ndarray, signs: np.ndarray | None = None
) -> PairMap:
    """Map pairs of magnetic sites onto each other by the space group of the crystal.

    Args:
        atoms: Complete crystal; non-magnetic atoms may lower the symmetry as well.
        sites: (n,) indices of the magnetic atoms.
        first, second, shifts: (p,), (p,), (p, 3) pairs counted once, with indices into `sites`.
        signs: (n,) signs of the moments; sites of one element with different signs are not equivalent. None: all signs are equal.

    Raises:
        BadInput: A pair is mapped to a pair that is not in the list.
        NucleateError: spglib finds no space group.
    """
    cell, own = atoms.cell.array, atoms.positions[sites]
    # Use operations of the primitive cell: a supercell's shape may lack rotations that the crystal has.
    kinds = atoms.numbers.copy()
    if signs is not None:
        kinds[sites[signs < 0]] *= -1
    crystal = (cell.tolist(), atoms.get_scaled_positions().tolist(), kinds.tolist())
    primitive = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=True, symprec=TOLERANCE)
    found = None if primitive is None else spglib.get_symmetry(primitive, symprec=TOLERANCE)
    if primitive is None or found is None:
        raise NucleateError("symmetry: spglib finds no space group; check whether two atoms coincide")
    lattice = np.array(primitive[0])
    place = {(int(i), int(j), *map(int, r)): p for p, (i, j, r) in enumerate(zip(first, second, shifts, strict=True))}
    vectors = own[second] - own[first] + shifts @ cell

    def act(turns: np.ndarray, moves: np.ndarray) -> Operations:
        target = np.zeros((len(turns), len(first)), dtype=int)
        mirrored = np.zeros_like(target, dtype=bool)
        for o, (turn, move) in enumerate(zip(turns, moves, strict=True)):
            start, _ = _sites_at(own @ turn.T + move, own, cell)
            i = start[first]
            j, steps = _sites_at(own[i] + vectors @ turn.T, own, cell)
            for p in range(len(first)):
                key = (int(i[p]), int(j[p]), *map(int, steps[p]))
                other = (key[1], key[0], -key[2], -key[3], -key[4])
                if key in place:
                    target[o, p] = place[key]
                elif other in place:
                    target[o, p], mirrored[o, p] = place[other], True
                else:
                    raise BadInput("symmetry: an equivalent of a pair is missing; include all pairs up to a distance")
        return Operations(target, mirrored, turns)

    repeats = round(abs(np.linalg.det(cell) / np.linalg.det(lattice)))
    moves = _translations(cell, lattice, repeats)
    translations = act(np.tile(np.eye(3), (repeats, 1, 1)), moves)
    # Operations of an imperfect cell are not exactly orthogonal; the nearest rotations keep isotropic couplings isotropic.
    left, _, right = np.linalg.svd([lattice.T @ turn @ np.linalg.inv(lattice.T) for turn in found["rotations"]])
    turns = left @ right
    turning = act(turns, found["translations"] @ lattice)
    classes = _classes(np.concatenate([translations.target, turning.target]))
    return PairMap(translations, turning, np.unique(classes, return_inverse=True)[1])


def _translations(cell: np.ndarray, lattice: np.ndarray, count: int) -> np.ndarray:
    """Return the lattice vectors (count, 3) inside a supercell in Å."""
    reach = int(np.ceil(np.abs(cell @ np.linalg.inv(lattice)).sum(axis=0).max())) + 1
    steps = np.stack(np.meshgrid(*([np.arange(-reach, reach + 1)] * 3), indexing="ij"), -1).reshape(-1, 3)
    inside = (steps @ lattice @ np.linalg.inv(cell)).round(6) % 1.0
    _, unique = np.unique(inside.round(4) % 1.0, axis=0, return_index=True)
    if len(unique) != count:
        raise NucleateError(
            f"symmetry: {len(unique)} translations are found, but the volume ratio is {count}; check whether the cell is distorted"
        )
    return inside[unique] @ cell


def _sites_at(points: np.ndarray, own: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the site index (m,) and cell (m, 3) at each point (m, 3)."""
    gap = (points[:, None, :] - own[None, :, :]) @ np.linalg.inv(cell)
    steps = np.round(gap)
    distance = np.linalg.norm((gap - steps) @ cell, axis=-1)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(points))
    if len(rows) and distance[rows, nearest].max() > 10 * TOLERANCE:
        raise BadInput("symmetry: an operation maps a magnetic site to a non-magnetic atom")
    return nearest, steps[rows, nearest].astype(int)


def _classes(target: np.ndarray) -> np.ndarray:
    """Return the smallest pair index (p,) in each class; a supercell may require several operations in sequence."""
    label = np.arange(target.shape[1])
    while True:
        lowest = np.minimum(label, label[target].min(axis=0))
        np.minimum.at(lowest, target.ravel(), np.broadcast_to(lowest, target.shape).ravel())
        if (lowest == label).all():
            return label
        label = lowest


def inside(atoms: Atoms) -> Atoms:
    """Return a copy with scaled positions in [0, 1); positions within 1e-6 of one become zero, because programs wrap them differently."""
    copy = atoms.copy()
    scaled = np.mod(atoms.get_scaled_positions(wrap=False), 1.0)
    copy.set_scaled_positions(np.where(scaled > 1 - EDGE, 0.0, scaled))
    return copy


def symmetrised(couplings: Couplings, atoms: Atoms, sites: np.ndarray, signs: np.ndarray | None = None) -> Couplings:
    """Average each tensor over the space group; `errors` become the standard deviation over equivalent tensors.

    Args:
        couplings: Couplings between `sites` with complete shells.
        atoms: Complete crystal.
        sites: (n,) indices of the magnetic atoms.
        signs: (n,) signs of the moments, see `pair_map`.

    Raises:
        BadInput: The list of pairs is not closed under the symmetry of the crystal.
    """
    found = pair_map(atoms, sites, couplings.first, couplings.second, couplings.shifts, signs)
    mean, variance = couplings.tensors, np.zeros(len(couplings.first))
    # The group average is an average over translations followed by one over rotations; the variances add.
    for operations in (found.translations, found.turns):
        images = operations.images(mean)
        variance = variance[operations.target].mean(axis=0)
        mean = images.mean(axis=0)
        variance = variance + ((images - mean) ** 2).sum(axis=(2, 3)).mean(axis=0) / 3
    return replace(couplings, tensors=mean, errors=np.sqrt(variance))
