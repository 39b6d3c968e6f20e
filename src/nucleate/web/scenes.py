"""Structures as JSON for the page: atoms, bonds and cell for a drawing, and the lattice for people."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from scipy.spatial import cKDTree

from nucleate.crystals.dimensions import is_cluster
from nucleate.crystals.formula import formula_text
from nucleate.report.drawing import BOND

MOST_COMPLETED = 500
"""Largest number of atoms whose images on the faces of the cell are drawn as well."""
FACE = 0.02
"""Distance from a face at which an atom is drawn on the opposite face too, as a fraction of the cell."""


def scene(atoms: Atoms) -> dict[str, Any]:
    """Return a structure for the page.

    Args:
        atoms: the structure; its cell is drawn as it is.

    Returns:
        `formula`, `atoms` (`element`, `position` in Å, `of`: number of the atom in the structure), `bonds` (pairs of drawn atoms), `cell`
        (three vectors in Å, or null for a cluster), `lattice` (a, b, c in Å and three angles in degrees, or null), `volume` (Å³, or null).
    """
    alone = is_cluster(atoms)
    owners, positions = (np.arange(len(atoms)), atoms.positions) if alone else _completed(atoms)
    numbers = atoms.numbers[owners]
    symbols = atoms.get_chemical_symbols()
    counts = {symbol: symbols.count(symbol) for symbol in dict.fromkeys(symbols)}
    return {
        "formula": formula_text(counts),
        "atoms": [
            {"element": symbols[owner], "position": [round(float(x), 5) for x in place], "of": int(owner)}
            for owner, place in zip(owners, positions, strict=True)
        ],
        "bonds": _bonds(numbers, positions),
        "cell": None if alone else atoms.cell.array.round(6).tolist(),
        "lattice": None if alone else [round(float(x), 4) for x in atoms.cell.cellpar()],
        "volume": None if alone else round(float(atoms.get_volume()), 4),
        "periodic": [bool(x) for x in atoms.pbc],
    }


def _completed(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return owners (n,) and positions (n, 3) of the atoms in the cell and of their images on its faces."""
    scaled = atoms.get_scaled_positions(wrap=True)
    scaled[(scaled > 1 - 1e-6) & atoms.pbc] = 0.0
    owners, found = [np.arange(len(atoms))], [scaled]
    if len(atoms) <= MOST_COMPLETED:
        for shift in np.ndindex(2, 2, 2):
            step = np.array(shift)
            if not step.any() or (step[~atoms.pbc]).any():
                continue
            # An atom near the upper face is drawn once more below the lower one, and the other way round.
            for sign, near in ((1, scaled < FACE), (-1, scaled > 1 - FACE)):
                rows = np.flatnonzero(near[:, step.astype(bool)].all(1))
                owners.append(rows)
                found.append(scaled[rows] + sign * step)
    return np.concatenate(owners), np.concatenate(found) @ atoms.cell.array


def _bonds(numbers: np.ndarray, positions: np.ndarray) -> list[list[int]]:
    """Return pairs of atoms that are closer than `BOND` times the sum of their covalent radii."""
    radii = covalent_radii[numbers]
    pairs = cKDTree(positions).query_pairs(2 * BOND * float(radii.max()), output_type="ndarray")
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    near = (lengths > 0.1) & (lengths < BOND * radii[pairs].sum(1))
    found: list[list[int]] = pairs[near].tolist()
    return found
