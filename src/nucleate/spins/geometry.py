"""Geometry of magnetic sites: which atoms are magnetic, pairs within a distance and images of a pair."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from nucleate.crystals.checks import across_vacuum
from nucleate.crystals.images import lattice_translations
from nucleate.errors import BadInput


def magnetic_sites(atoms: Atoms, moments: dict[str, float]) -> np.ndarray:
    """Return the indices of the atoms whose element has a moment.

    Raises:
        BadInput: There is no such atom.
    """
    absent = [name for name in moments if name not in atoms.get_chemical_symbols()]
    sites = np.flatnonzero([abs(moments.get(symbol, 0.0)) > 0 for symbol in atoms.get_chemical_symbols()])
    if not len(sites):
        named = ", ".join(moments) or "none"
        raise BadInput(
            f"{atoms.get_chemical_formula()}: there is no magnetic atom (elements with a moment: {named}); give moments such as Mn=4.5"
        )
    if absent:
        raise BadInput(f"{atoms.get_chemical_formula()}: moments are given for {', '.join(absent)}, which the structure does not contain")
    return sites


def pairs_within(atoms: Atoms, sites: np.ndarray, cutoff: float, across_films: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of sites up to a distance, counted once: first, second (p,), shifts (p, 3).

    Args:
        atoms: Structure; all of its atoms, if `across_films` is False.
        sites: Indices of the magnetic atoms.
        cutoff: Largest distance in Å.
        across_films: Whether pairs may cross a vacuum between the images of a film; k-points along it do not tell these apart.

    Raises:
        BadInput: There is no pair.
    """
    magnetic = atoms[sites]
    magnetic.pbc = True
    i, j, shifts = neighbor_list("ijS", magnetic, cutoff + 1e-3)
    upper = (i < j) | (
        (i == j) & ((shifts[:, 0] > 0) | ((shifts[:, 0] == 0) & ((shifts[:, 1] > 0) | ((shifts[:, 1] == 0) & (shifts[:, 2] > 0)))))
    )
    if not across_films:
        images = _unbroken(atoms)[sites]
        for axis in np.flatnonzero(across_vacuum(atoms)):
            upper &= shifts[:, axis] == images[j, axis] - images[i, axis]
    if not upper.any():
        raise BadInput(f"no two magnetic atoms are within {cutoff:g} Å; increase the cutoff")
    return i[upper], j[upper], shifts[upper].astype(int)


def _unbroken(atoms: Atoms) -> np.ndarray:
    """Return the lattice translation (n, 3) that moves each atom so that the thickest layer without atoms is at the ends of each vector."""
    whole = atoms.copy()
    whole.pbc = True
    scaled = whole.get_scaled_positions(wrap=False)
    inside = whole.get_scaled_positions(wrap=True)
    moved = np.rint(inside - scaled).astype(int)
    for axis in range(3):
        heights = np.sort(inside[:, axis])
        widths = np.diff(np.append(heights, heights[0] + 1))
        widest = int(widths.argmax())
        if widest < len(heights) - 1:
            moved[inside[:, axis] > heights[widest], axis] -= 1
    return moved


def image_vectors(atoms: Atoms, i: int, j: int, cutoff: float) -> np.ndarray:
    """Return the vectors (m, 3) in Å from atom i to the images of atom j within a distance, shortest first."""
    cell = atoms.cell.array
    vectors = (_least_fraction(atoms, i, j) + lattice_translations(cell, cutoff)) @ cell
    vectors = vectors[np.linalg.norm(vectors, axis=1) <= cutoff]
    return vectors[np.lexsort((*vectors.T.round(6), np.linalg.norm(vectors, axis=1).round(6)))]


def nearest_images(atoms: Atoms, i: int, j: int, factor: float) -> np.ndarray:
    """Return the vectors (m, 3) in Å from atom i to the images of another atom j, shortest first, up to `factor` times the shortest."""
    # The difference of fractional coordinates that is smallest along each axis is an image, though not always the nearest one.
    bound = np.linalg.norm(_least_fraction(atoms, i, j) @ atoms.cell.array)
    vectors = image_vectors(atoms, i, j, factor * float(bound) * (1 + 1e-9))
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors[lengths <= factor * lengths[0]]


def image_beyond(atoms: Atoms, i: int, j: int, cutoff: float) -> float:
    """Return the distance in Å from atom i to the nearest image of atom j beyond the cutoff."""
    # From any image within the cutoff, steps along one lattice vector lead to one beyond; the nearest image is within two.
    lengths = np.linalg.norm(image_vectors(atoms, i, j, cutoff + 2 * float(atoms.cell.lengths().max())), axis=1)
    return float(lengths[lengths > cutoff + 1e-3].min())


def _least_fraction(atoms: Atoms, i: int, j: int) -> np.ndarray:
    """Return the difference (3,) of the fractional coordinates of atoms j and i, each from -1/2 to 1/2."""
    apart = (atoms.positions[j] - atoms.positions[i]) @ np.linalg.inv(atoms.cell.array)
    return apart - np.round(apart)
