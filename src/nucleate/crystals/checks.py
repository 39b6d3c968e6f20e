"""Checks that every structure passes before a calculation, whatever its source."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce
from vesin import NeighborList

from nucleate.crystals.images import plane_distances
from nucleate.errors import BadInput, InputNote

MOST_ATOMS = 1_000_000
LARGEST = 1e5
"""Å; a coordinate or cell vector beyond it is a broken number."""
LONGEST_CELL = 2000.0
"""Å; finders of neighbours count their cubes in integers, and die of much longer cells."""
MOST_CUBES = 50_000
"""Of 1 Å: beyond them the finder of neighbours makes cubes larger, and dies where none is left along a short direction."""
FLATTEST = 0.3
"""Å between neighbouring lattice planes; less is a cell sheared beyond use, or one that has lost its scale."""
OVERLAP = 0.4
"""Share of the sum of two covalent radii: nearer atoms overlap. Cores of planets compress bonds to some 0.7."""
CUBE, MOST_IN_CUBE = 0.5, 250
"""Å, and atoms in a cube of this edge: more are one atom listed many times (a site under all operations makes at most 192)."""
VACUUM = 8.0
"""Å without atoms along a direction in which a structure is not periodic: images are then out of reach of each other."""


def check_structure(atoms: Atoms, where: str) -> None:
    """Check that a structure can be calculated; raise `BadInput` naming `where` otherwise.

    Raises:
        BadInput: no atoms or far too many, numbers that are not finite or absurd, no three-dimensional cell or one that is flat,
            an unknown element, partly occupied sites, atoms that overlap (with each other or with their own images).
    """
    check_atoms(atoms, where)
    if abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{where}: no three-dimensional cell; nucleate needs a periodic crystal")
    planes = plane_distances(atoms.cell.array)
    if planes.min() < FLATTEST:
        raise BadInput(
            f"{where}: lattice planes along {'abc'[int(planes.argmin())]} are only {planes.min():.2g} Å apart; "
            "give the cell in Å, on vectors that are not sheared"
        )
    longest = float(atoms.cell.lengths().max())
    if longest > LONGEST_CELL:
        raise BadInput(f"{where}: a cell vector of {longest:.4g} Å; at most {LONGEST_CELL:g} Å can be read: is the cell given in Å?")
    refuse_close_atoms(atoms, where)


def check_atoms(atoms: Atoms, where: str) -> None:
    """Check the atoms as in `check_structure`, without the cell."""
    if len(atoms) == 0:
        raise BadInput(f"{where}: no atoms")
    if len(atoms) > MOST_ATOMS:
        raise BadInput(f"{where}: {len(atoms)} atoms; at most {MOST_ATOMS} can be read")
    for array in (atoms.positions, atoms.cell.array):
        if not np.isfinite(array).all():
            raise BadInput(f"{where}: a coordinate or cell vector is not a finite number")
        if np.abs(array).max(initial=0) > LARGEST:
            raise BadInput(f"{where}: a coordinate or cell vector of {np.abs(array).max():.3g} Å; numbers are in Å")
    if (atoms.numbers == 0).any():
        raise BadInput(f"{where}: an atom of unknown element (X)")
    occupancy = atoms.info.get("occupancy")
    if isinstance(occupancy, dict) and any(sum(site.values()) < 0.999 or len(site) > 1 for site in occupancy.values()):
        raise BadInput(f"{where}: partly occupied sites; give an ordered structure")


def refuse_close_atoms(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` naming the two atoms that overlap most, own images included; a structure without a cell has no images."""
    refuse_crowds(atoms, where)
    radii = OVERLAP * covalent_radii[atoms.numbers]
    reach = max(2 * float(radii.max()), 1.0)
    i, j, d = close_pairs(atoms, reach)
    # Covalent radii are known to a tenth of an Å; those of unknown elements are given as 0.2.
    share = d / (radii[i] + radii[j])
    if not len(d) or share.min() >= 1:
        return
    worst = int(share.argmin())
    a, b, apart = int(i[worst]), int(j[worst]), float(d[worst])
    symbols = atoms.get_chemical_symbols()
    if a == b:
        raise BadInput(f"{where}: {symbols[a]} (atom {a + 1}) and its own image are {apart:.2f} Å apart; is the cell given in Å?")
    hint = "correct the positions or the cell"
    if apart < 0.1:
        hint = "is an atom listed twice?" if symbols[a] == symbols[b] else "disordered sites must be ordered first"
    raise BadInput(f"{where}: {symbols[a]} (atom {a + 1}) and {symbols[b]} (atom {b + 1}) are {apart:.2f} Å apart; {hint}")


def refuse_crowds(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` where hundreds of atoms share one small cube: their pairs would be too many to list."""
    points = atoms.positions
    if atoms.cell.rank == 3:
        counts = np.maximum(1, np.floor(plane_distances(atoms.cell.array)))
        if counts.prod() > MOST_CUBES and counts.min() * (MOST_CUBES / counts.prod()) ** (1 / 3) < 1:
            a, b, c = atoms.cell.lengths()
            raise BadInput(f"{where}: a cell of {a:.4g} by {b:.4g} by {c:.4g} Å is too wide and too flat to be read; repeat or shorten it")
        points = atoms.get_scaled_positions(wrap=True) @ atoms.cell.array
    cubes = np.floor(points / CUBE).astype(np.int64)
    _, cube, counts = np.unique(cubes, axis=0, return_inverse=True, return_counts=True)
    if counts.max(initial=0) > MOST_IN_CUBE:
        number = int(np.flatnonzero(cube.ravel() == counts.argmax())[0])
        raise BadInput(
            f"{where}: {counts.max()} atoms crowd within {CUBE:g} Å ({atoms.symbols[number]}, atom {number + 1}, among them); "
            "are atoms listed many times?"
        )


def close_pairs(atoms: Atoms, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs of atoms (first, second, distance in Å) closer than `reach`, periodic images included."""
    periodic = bool(atoms.cell.rank == 3)
    cell = minkowski_reduce(atoms.cell)[0] if periodic else np.zeros((3, 3))
    points = atoms.positions
    if periodic:
        scaled = points @ np.linalg.inv(cell)
        points = (scaled - np.floor(scaled)) @ cell
    finder = NeighborList(cutoff=reach, full_list=False)
    i, j, d = finder.compute(points=points, box=cell, periodic=periodic, quantities="ijd")
    return i.astype(int), j.astype(int), d


def settle_periodicity(atoms: Atoms, where: str) -> None:
    """Make a partially periodic structure periodic: other directions must contain vacuum, which becomes part of the cell; a note says so.

    The structure becomes periodic in three directions. Atoms without any cell stay as they are.

    Raises:
        BadInput: a direction is not periodic though atoms fill the cell along it, or the cell has no vector there.
    """
    if atoms.pbc.all() or atoms.cell.rank == 0:
        return
    open_axes = [axis for axis in range(3) if not atoms.pbc[axis]]
    names = ", ".join("abc"[axis] for axis in open_axes)
    if atoms.cell.rank < 3:
        raise BadInput(f"{where}: the cell has no vector along {names}; give one that leaves {VACUUM:g} Å of vacuum")
    for axis in open_axes:
        empty = vacuum(atoms, axis)
        if empty < VACUUM:
            raise BadInput(
                f"{where}: not periodic along {'abc'[axis]} (pbc), where its cell leaves {empty:.1f} Å of vacuum; "
                f"write pbc as T for a crystal, or leave {VACUUM:g} Å"
            )
    atoms.pbc = True
    warnings.warn(InputNote(f"{where}: not periodic along {names}; its vacuum is taken as part of a periodic cell"), stacklevel=2)


def vacuum(atoms: Atoms, axis: int) -> float:
    """Width in Å of the largest slab without atoms across a cell vector."""
    scaled = np.sort(atoms.get_scaled_positions(wrap=True)[:, axis])
    gaps = np.diff(np.append(scaled, scaled[0] + 1))
    return float(gaps.max() * plane_distances(atoms.cell.array)[axis])


def require_crystal(atoms: Atoms, what: str) -> None:
    """Raise `BadInput`, beginning with `what` it is that wants one, unless the atoms are periodic in three directions."""
    if len(atoms) == 0 or not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{what}: give atoms a cell and pbc=True in three directions")


def refuse_moments(atoms: Atoms, where: str, why: str) -> None:
    """Raise `BadInput` where a structure carries starting moments that nobody would look at; `why` says what happens in their place."""
    if np.abs(atoms.get_initial_magnetic_moments()).max(initial=0) > 0:
        raise BadInput(f"{where}: carries starting moments; {why}; remove them from the structure")


def refuse_constraints(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` where atoms are fixed: whatever moves atoms here moves all of them, and the cell."""
    if atoms.constraints:
        names = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise BadInput(f"{where}: fixes atoms ({names}, or selective dynamics), which nucleate cannot honour; remove that from the file")
