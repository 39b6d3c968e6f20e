"""Imaginary modes, and structures along them that have a lower energy.

At a q point whose wave fits into the supercell, a mode with polarisation e displaces atom j at r by

    u = Re[c e_j exp(2 pi i q r)] / sqrt(m_j),

with any complex c. Modes of one frequency span a space of such displacements, of which several directions are followed: the structure is
displaced along each one in the smallest supercell that holds the wave, by the amplitude of lowest energy, and relaxed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import spglib
from ase import Atoms
from ase.build import make_supercell
from ase.geometry import minkowski_reduce

from nucleate.polymorphs.stability.free_energy import REAL
from nucleate.polymorphs.stability.phonons import Phonons

EQUAL = 0.02
"""Difference of frequencies in THz below which modes count as one degenerate set."""
AMPLITUDES = (0.1, 0.2, 0.4)
"""Largest displacement of an atom along a mode, Å."""
DIRECTIONS = 5
"""Largest number of directions in the space of a degenerate set."""


@dataclass(frozen=True)
class ImaginaryMode:
    """A set of degenerate imaginary modes.

    Attributes:
        point: (3,) q point in units of the reciprocal vectors.
        frequency: frequency of the committee's mean, THz, negative.
        spread: standard deviation over the members, THz; None for a single one.
        members: number of members with an imaginary frequency of this mode.
        bands: indices of the modes.
    """

    point: np.ndarray
    frequency: float
    spread: float | None
    members: int
    bands: tuple[int, ...]


def imaginary_modes(phonons: Phonons) -> list[ImaginaryMode]:
    """Return the imaginary modes at commensurate q points, the lowest first, once for all equivalent points."""
    points = _inequivalent(phonons.atoms, phonons.commensurate)
    found = phonons.frequencies(points)
    spread = found.spread
    modes = []
    for k, point in enumerate(points):
        low = [band for band in range(found.mean.shape[1]) if found.mean[k, band] < REAL]
        while low:
            group = tuple(band for band in low if found.mean[k, band] - found.mean[k, low[0]] < EQUAL)
            error = None if spread is None else float(spread[k, group[0]])
            count = int((found.members[:, k, group[0]] < REAL).sum())
            modes.append(ImaginaryMode(point, float(found.mean[k, group[0]]), error, count, group))
            low = low[len(group) :]
    return sorted(modes, key=lambda mode: mode.frequency)


def _inequivalent(atoms: Atoms, points: np.ndarray) -> np.ndarray:
    """Return one of the q points that the point group and the reversal of time connect."""
    found = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-4)
    rotations = np.eye(3, dtype=int)[None] if found is None else np.unique(found["rotations"], axis=0)
    kept: list[np.ndarray] = []
    for point in points:
        # q . (W x) = (q W) . x: rows of the reciprocal space are multiplied from the right.
        images = np.concatenate([point @ rotations, -(point @ rotations)])
        difference = images[None] - np.array(kept).reshape(-1, 1, 3)
        if not (np.abs(difference - np.rint(difference)).max(axis=-1) < 1e-4).any():
            kept.append(point)
    return np.array(kept)


def wave_cell(point: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the smallest supercell that holds the wave of a commensurate q point.

    The translations R with an integer q R form a lattice, whose reciprocal lattice is that of the crystal together with q.

    Args:
        point: (3,) q point with rational coordinates.
        cell: (3, 3) primitive vectors as rows, Å.

    Returns:
        (3, 3) integers; the vectors of the supercell, as short as possible, are its rows times the primitive vectors.
    """
    fractions = [Fraction(float(x)).limit_denominator(120) for x in point]
    common = math.lcm(*(each.denominator for each in fractions))
    rows = np.vstack([common * np.eye(3, dtype=int), [int(each * common) for each in fractions]])
    # Rows are combined until they are triangular, as in the algorithm of Euclid.
    for column in range(3):
        while True:
            used = [row for row in range(column, 4) if rows[row, column]]
            smallest = min(used, key=lambda row: abs(rows[row, column]))
            rows[[column, smallest]] = rows[[smallest, column]]
            for row in range(column + 1, 4):
                rows[row] -= rows[row, column] // rows[column, column] * rows[column]
            if not rows[column + 1 :, column].any():
                break
    matrix = np.rint(np.linalg.inv(rows[:3] / common).T).astype(int)
    _, shortest = minkowski_reduce(matrix @ cell)
    result: np.ndarray = shortest @ matrix
    # A right-handed cell, if the primitive one is.
    return result if np.linalg.det(result) > 0 else -result


def directions(phonons: Phonons, mode: ImaginaryMode, rng: np.random.Generator) -> tuple[Atoms, list[np.ndarray]]:
    """Return the supercell of a mode and displacements (n_atoms, 3) along it, each with a largest displacement of one.

    Args:
        phonons: phonons of the crystal.
        mode: its mode.
        rng: draws directions in the space of a degenerate set.
    """
    _, vectors = phonons.modes(mode.point)
    cell = make_supercell(phonons.atoms, wave_cell(mode.point, phonons.atoms.cell.array))
    # The atoms of one primitive cell follow one another.
    own = np.arange(len(cell)) % len(phonons.atoms)
    fractional = cell.positions @ np.linalg.inv(phonons.atoms.cell.array)
    wave = np.exp(2j * np.pi * fractional @ mode.point) / np.sqrt(phonons.atoms.get_masses()[own])
    moved = vectors[list(mode.bands)][:, own] * wave[None, :, None]
    flat = moved.reshape(len(mode.bands), -1)
    _left, sizes, right = np.linalg.svd(np.concatenate([flat.real, flat.imag]), full_matrices=False)
    space = right[sizes > 1e-6 * sizes[0]]
    # Both signs of a single displacement differ if no symmetry connects them.
    chosen = [space[0], -space[0]] if len(space) == 1 else [space[0]]
    if len(space) > 1:
        chosen += [draw @ space for draw in rng.normal(size=(DIRECTIONS - 1, len(space)))]
    shaped = [each.reshape(-1, 3) for each in chosen]
    return cell, [each / np.linalg.norm(each, axis=1).max() for each in shaped]


def displaced(cell: Atoms, direction: np.ndarray) -> list[Atoms]:
    """Return a supercell displaced by each of `AMPLITUDES` along a direction."""
    structures = []
    for amplitude in AMPLITUDES:
        copy = cell.copy()
        copy.positions += amplitude * direction
        structures.append(copy)
    return structures
