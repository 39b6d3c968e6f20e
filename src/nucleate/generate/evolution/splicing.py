"""Slabs of two crystals, joined to a cell with an exact composition."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nucleate.generate.distances import image_shifts, squared_distances

CLASH = 0.7
"""Distance relative to its limit below which an atom is only added if there is no other."""


class Spliced(NamedTuple):
    """The atoms of both parents in the cell of the child.

    Attributes:
        scaled: (M, 3) fractional positions.
        species: (M,) species.
        depth: (M,) fractional distance from the nearest of the two cuts, positive for atoms inside the slab of their own parent.
        orbits: (M,) atoms of equal label are only added or removed together.
    """

    scaled: np.ndarray
    species: np.ndarray
    depth: np.ndarray
    orbits: np.ndarray


def depth_in_slab(along: np.ndarray, thickness: np.ndarray | float) -> np.ndarray:
    """Return how deep coordinates lie in the slab from 0 to `thickness` of a period of 1; negative outside the slab."""
    from_centre = along - 0.5 * thickness
    return 0.5 * thickness - np.abs(from_centre - np.round(from_centre))


def mismatch(inside: np.ndarray, species: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the (T,) numbers of atoms to add or remove for each of T trials, from (T, M) flags of the atoms inside."""
    numbers = inside.astype(int) @ np.eye(len(counts), dtype=int)[species]
    return np.abs(numbers - counts).sum(axis=1)


def repaired(spliced: Spliced, counts: np.ndarray, cell: np.ndarray, limits: np.ndarray) -> np.ndarray | None:
    """Return the indices of atoms of exactly this composition.

    Surplus orbits are removed, and missing ones are taken from the discarded slabs, in both cases those closest to a cut. An orbit that
    would be much too close to other atoms is only added if there is no other.

    Args:
        spliced: atoms of both parents.
        counts: (S,) number of atoms of each species.
        cell: (3, 3) lattice vectors as rows, Å.
        limits: (S, S) smallest distances, Å.

    Returns:
        Indices, or None if no whole orbits give this composition.
    """
    inside = spliced.depth > 0.0
    for kind, wanted in enumerate(counts):
        surplus = int(inside[spliced.species == kind].sum()) - int(wanted)
        if surplus > 0:
            surplus = _removed(spliced, inside, kind, surplus)
        if surplus > 0:
            return None
    for kind, wanted in enumerate(counts):
        missing = int(wanted) - int(inside[spliced.species == kind].sum())
        if missing > 0 and _added(spliced, inside, kind, missing, cell, limits) > 0:
            return None
    return np.flatnonzero(inside)


def _by_depth(spliced: Spliced, atoms: np.ndarray) -> list[np.ndarray]:
    """Return the orbits of atoms, those closest to a cut first."""
    atoms = atoms[np.argsort(np.abs(spliced.depth[atoms]), kind="stable")]
    labels, first = np.unique(spliced.orbits[atoms], return_index=True)
    return [atoms[spliced.orbits[atoms] == label] for label in labels[np.argsort(first)]]


def _removed(spliced: Spliced, inside: np.ndarray, kind: int, surplus: int) -> int:
    """Remove orbits of a species; return how many atoms are still to be removed."""
    for orbit in _by_depth(spliced, np.flatnonzero(inside & (spliced.species == kind))):
        if len(orbit) <= surplus:
            inside[orbit] = False
            surplus -= len(orbit)
    return surplus


def _added(spliced: Spliced, inside: np.ndarray, kind: int, missing: int, cell: np.ndarray, limits: np.ndarray) -> int:
    """Add orbits of a species; return how many atoms are still missing."""
    shifts = image_shifts(cell, CLASH * float(limits.max()))
    candidates = _by_depth(spliced, np.flatnonzero(~inside & (spliced.species == kind)))
    while missing > 0:
        candidates = [orbit for orbit in candidates if len(orbit) <= missing]
        if not candidates:
            break
        present = np.flatnonzero(inside)
        atoms = np.concatenate(candidates)
        squared = squared_distances(spliced.scaled[atoms], spliced.scaled[present], cell, shifts).min(axis=-1)
        fits = np.sqrt((squared / limits[kind, spliced.species[present]] ** 2).min(axis=1, initial=np.inf))
        ends = np.cumsum([len(orbit) for orbit in candidates])
        fit = np.minimum.reduceat(fits, np.concatenate([[0], ends[:-1]]))
        best = int(np.argmax(fit >= CLASH)) if (fit >= CLASH).any() else int(np.argmax(fit))
        orbit = candidates.pop(best)
        inside[orbit] = True
        missing -= len(orbit)
    return missing
