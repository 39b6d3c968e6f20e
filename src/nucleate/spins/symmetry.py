"""Which pairs of magnetic sites are equivalent in a crystal, and couplings made to obey it.

Under an operation that takes (i, j) to (i', j') a coupling tensor becomes R J R^T with the Cartesian matrix R: spins are axial vectors, so
an inversion that is part of R leaves no sign. Operations come from spglib (A. Togo et al., doi 10.1080/27660400.2024.2384822).
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
"""Share of a vector below a cell's border that counts as on it."""


@dataclass(frozen=True)
class Operations:
    """Where each of some operations takes each pair.

    Attributes:
        target: (o, p) number of the pair.
        mirrored: (o, p) whether it arrives as (j, i, -R).
        rotations: (o, 3, 3) Cartesian.
    """

    target: np.ndarray
    mirrored: np.ndarray
    rotations: np.ndarray

    def images(self, tensors: np.ndarray) -> np.ndarray:
        """(o, p, 3, 3): what each operation says of each pair, the tensor of its image turned back."""
        found = tensors[self.target]
        found = np.where(self.mirrored[..., None, None], found.swapaxes(-1, -2), found)
        return np.einsum("oba,opbc,ocd->opad", self.rotations, found, self.rotations)


@dataclass(frozen=True)
class PairMap:
    """The space group, as it acts on pairs.

    Attributes:
        translations: of the primitive lattice, inside the cell.
        turns: one operation for each rotation of the primitive cell.
        orbit: (p,) number of the class of equivalent pairs.
    """

    translations: Operations
    turns: Operations
    orbit: np.ndarray


def pair_map(
    atoms: Atoms, sites: np.ndarray, first: np.ndarray, second: np.ndarray, shifts: np.ndarray, signs: np.ndarray | None = None
) -> PairMap:
    """Follow pairs of `sites` of a crystal through its space group.

    Args:
        atoms: the whole crystal, not its magnetic sites alone: the others break symmetry too.
        sites: (n,) numbers of the magnetic atoms.
        first, second, shifts: (p,), (p,), (p, 3) pairs counted once, numbered along `sites`.
        signs: (n,) of the sites' moments; those of one element that differ are not equivalent. None: all alike.

    Raises:
        BadInput: a pair is taken to one that is not in the list.
        NucleateError: spglib finds no space group.
    """
    cell, own = atoms.cell.array, atoms.positions[sites]
    # Operations of the primitive cell: those of a supercell lack the turns that its shape breaks though the crystal has them.
    kinds = atoms.numbers.copy()
    if signs is not None:
        kinds[sites[signs < 0]] *= -1
    crystal = (cell.tolist(), atoms.get_scaled_positions().tolist(), kinds.tolist())
    primitive = spglib.standardize_cell(crystal, to_primitive=True, no_idealize=True, symprec=TOLERANCE)
    found = None if primitive is None else spglib.get_symmetry(primitive, symprec=TOLERANCE)
    if primitive is None or found is None:
        raise NucleateError("symmetry: spglib finds no space group; are two atoms at one place?")
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
                    raise BadInput("symmetry: a pair is equivalent to one that is missing; take every pair up to a distance")
        return Operations(target, mirrored, turns)

    repeats = round(abs(np.linalg.det(cell) / np.linalg.det(lattice)))
    moves = _translations(cell, lattice, repeats)
    translations = act(np.tile(np.eye(3), (repeats, 1, 1)), moves)
    # An imperfect cell's operations are no rotations to the last digit; the nearest ones keep isotropic couplings isotropic.
    left, _, right = np.linalg.svd([lattice.T @ turn @ np.linalg.inv(lattice.T) for turn in found["rotations"]])
    turns = left @ right
    turning = act(turns, found["translations"] @ lattice)
    classes = _classes(np.concatenate([translations.target, turning.target]))
    return PairMap(translations, turning, np.unique(classes, return_inverse=True)[1])


def _translations(cell: np.ndarray, lattice: np.ndarray, count: int) -> np.ndarray:
    """(count, 3) vectors of a lattice inside a cell of it, Å."""
    reach = int(np.ceil(np.abs(cell @ np.linalg.inv(lattice)).sum(axis=0).max())) + 1
    steps = np.stack(np.meshgrid(*([np.arange(-reach, reach + 1)] * 3), indexing="ij"), -1).reshape(-1, 3)
    inside = (steps @ lattice @ np.linalg.inv(cell)).round(6) % 1.0
    _, unique = np.unique(inside.round(4) % 1.0, axis=0, return_index=True)
    if len(unique) != count:
        raise NucleateError(f"symmetry: {len(unique)} translations where volumes say {count}; is the cell distorted?")
    return inside[unique] @ cell


def _sites_at(points: np.ndarray, own: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which site, in which cell (m, 3), lies at each point (m, 3)."""
    gap = (points[:, None, :] - own[None, :, :]) @ np.linalg.inv(cell)
    steps = np.round(gap)
    distance = np.linalg.norm((gap - steps) @ cell, axis=-1)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(points))
    if len(rows) and distance[rows, nearest].max() > 10 * TOLERANCE:
        raise BadInput("symmetry: an operation takes a magnetic site to an atom that is none")
    return nearest, steps[rows, nearest].astype(int)


def _classes(target: np.ndarray) -> np.ndarray:
    """(p,) the smallest number that operations connect each pair with; a supercell's shape may need several in turn."""
    label = np.arange(target.shape[1])
    while True:
        lowest = np.minimum(label, label[target].min(axis=0))
        np.minimum.at(lowest, target.ravel(), np.broadcast_to(lowest, target.shape).ravel())
        if (lowest == label).all():
            return label
        label = lowest


def inside(atoms: Atoms) -> Atoms:
    """A copy whose scaled positions are in [0, 1), those a millionth below one at zero: programs differ in where they put these."""
    copy = atoms.copy()
    scaled = np.mod(atoms.get_scaled_positions(wrap=False), 1.0)
    copy.set_scaled_positions(np.where(scaled > 1 - EDGE, 0.0, scaled))
    return copy


def symmetrised(couplings: Couplings, atoms: Atoms, sites: np.ndarray, signs: np.ndarray | None = None) -> Couplings:
    """Each tensor the mean over the space group; `errors` become the standard deviation of its equivalents' tensors.

    Args:
        couplings: between `sites`, whole shells.
        atoms: the whole crystal.
        sites: (n,) its magnetic atoms.
        signs: (n,) of their moments, see `pair_map`.

    Raises:
        BadInput: the list is not closed under the crystal's symmetry.
    """
    found = pair_map(atoms, sites, couplings.first, couplings.second, couplings.shifts, signs)
    mean, variance = couplings.tensors, np.zeros(len(couplings.first))
    # A mean over the group is one over translations, then one over turns; variances add up likewise.
    for operations in (found.translations, found.turns):
        images = operations.images(mean)
        variance = variance[operations.target].mean(axis=0)
        mean = images.mean(axis=0)
        variance = variance + ((images - mean) ** 2).sum(axis=(2, 3)).mean(axis=0) / 3
    return replace(couplings, tensors=mean, errors=np.sqrt(variance))
