"""Assignment of structures from elsewhere, such as those of a search, to the sites of a parent lattice.

A structure belongs to a parent if some supercell of it, strained and rotated, has the same lattice and its atoms lie near the sites.
"""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from nucleate.crystals.images import lattice_translations
from nucleate.errors import BadInput
from nucleate.lattice.enumeration import Arrangement
from nucleate.lattice.parent import VACANCY, Parent
from nucleate.lattice.supercells import Supercell, compact, hermite_forms

MOST_CELLS = 24
"""Largest number of primitive cells of a structure that is assigned."""


def assign(parent: Parent, atoms: Atoms, strain: float = 0.15, distance: float = 0.25) -> Arrangement:
    """Return the arrangement that a structure is, after a common change of volume and a strain.

    Args:
        parent: A parent without vacancies, periodic in three directions.
        atoms: The structure, relaxed or not.
        strain: Largest principal value of the strain beside the change of volume.
        distance: Largest distance of an atom from its site, in units of the smallest distance of two sites.

    Raises:
        BadInput: The parent has vacancies or is a layer, or no supercell fits the structure.
    """
    if not parent.periodic.all() or VACANCY in parent.names:
        raise BadInput("structures are assigned to parents that are periodic in three directions and have no vacancies")
    per_cell = len(parent.atoms)
    count, rest = divmod(len(atoms), per_cell)
    if rest or not 1 <= count <= MOST_CELLS:
        raise BadInput(f"a structure of {len(atoms)} atoms is no supercell of {per_cell} atoms with up to {MOST_CELLS} cells")
    scale = (atoms.get_volume() / count / parent.atoms.get_volume()) ** (1 / 3)
    target, operation = minkowski_reduce(atoms.cell.array)
    del operation
    best: tuple[float, Arrangement] | None = None
    # Reduced vectors of a strained lattice may be other ones, so that all short bases of the structure are compared.
    bases = [np.array(rows) for rows in itertools.product(_short_rows(), repeat=3)]
    bases = [basis for basis in bases if round(np.linalg.det(basis)) == 1]
    metrics = np.array([basis @ target @ target.T @ basis.T for basis in bases])
    for form in hermite_forms(count, parent.periodic):
        supercell = compact(parent, form)
        ideal = scale * supercell.cell
        inverse = np.linalg.inv(ideal)
        # Green's strain of each basis relative to the ideal cell, free of rotations.
        green = 0.5 * (inverse @ metrics @ inverse.T - np.eye(3))
        size = np.abs(np.linalg.eigvalsh(green)).max(axis=1)
        for k in np.argsort(size)[:4]:
            if size[k] > strain or (best is not None and size[k] > best[0] + 1e-6):
                break
            for handed in (1, -1):
                found = _occupied(parent, supercell, atoms, handed * bases[k] @ target, distance)
                if found is not None:
                    best = float(size[k]), Arrangement(supercell, found)
                    break
            if best is not None and best[0] == size[k]:
                break
    if best is None:
        raise BadInput(f"the structure {atoms.get_chemical_formula()} is no arrangement on the parent lattice")
    return best[1]


def _short_rows() -> list[tuple[int, int, int]]:
    return [(a, b, c) for a, b, c in itertools.product((-1, 0, 1), repeat=3) if (a, b, c) != (0, 0, 0)]


def _occupied(parent: Parent, supercell: Supercell, atoms: Atoms, cell: np.ndarray, distance: float) -> np.ndarray | None:
    """Return the occupation of a supercell whose vectors are `cell`, or None if an atom is far from all sites or a site is empty."""
    fixed = [k for k, names in enumerate(parent.species) if len(names) == 1]
    inverse = np.linalg.inv(supercell.cell)
    sites = supercell.positions @ inverse
    still = ((supercell.cells[:, None] + parent.atoms.get_scaled_positions(wrap=False)[fixed]).reshape(-1, 3) @ parent.cell) @ inverse
    kinds = [*(parent.species[k][0] for _ in range(supercell.count) for k in fixed), *([None] * len(sites))]
    places = np.concatenate([still, sites])
    scaled = atoms.positions @ np.linalg.inv(cell)
    limit = distance * _smallest_distance(parent) * abs(np.linalg.det(cell) / np.linalg.det(supercell.cell)) ** (1 / 3)
    symbols = atoms.get_chemical_symbols()
    for origin in range(len(places)):
        shifted = scaled - scaled[0] + places[origin]
        for _ in range(2):
            apart = shifted[:, None] - places
            apart -= np.rint(apart)
            length = np.linalg.norm(apart @ cell, axis=2)
            nearest = length.argmin(axis=1)
            # The common displacement of all atoms is no distortion.
            shifted = shifted - apart[np.arange(len(nearest)), nearest].mean(axis=0)
        if len(set(nearest.tolist())) < len(nearest) or length[np.arange(len(nearest)), nearest].max() > limit:
            continue
        occupation = np.full(len(sites), -1)
        for symbol, place in zip(symbols, nearest.tolist(), strict=True):
            if kinds[place] is not None:
                if kinds[place] != symbol:
                    break
                continue
            site = place - len(still)
            names = parent.allowed[int(supercell.sublattice[site])]
            if symbol not in names:
                break
            occupation[site] = names.index(symbol)
        else:
            return occupation
    return None


def _smallest_distance(parent: Parent) -> float:
    """Return the smallest distance of two sites of a parent, Å."""
    positions = parent.atoms.positions
    span = float(np.linalg.norm(parent.cell, axis=1).min())
    shifts = lattice_translations(parent.cell, span) @ parent.cell
    distances = np.linalg.norm(positions[:, None, None] - positions[None, :, None] + shifts, axis=3)
    return float(distances[distances > 1e-6].min())
