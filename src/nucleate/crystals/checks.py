"""Checks of structures before a calculation."""

from __future__ import annotations

import warnings

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce

from nucleate.crystals.images import plane_distances
from nucleate.errors import BadInput, InputNote

MOST_ATOMS = 1_000_000
LARGEST = 1e5
"""Largest absolute value of a coordinate or cell vector, Å."""
LONGEST_CELL = 2000.0
"""Longest cell vector, Å. Neighbour lists divide the cell into cubes with integer indices and fail for much longer cells."""
MOST_CUBES = 50_000
"""Number of cubes of 1 Å in the cell above which vesin enlarges the cubes; it fails if no cube is left along a short direction."""
FLATTEST = 0.3
"""Smallest distance between neighbouring lattice planes, Å; a smaller one means strong shear or a wrong unit of length."""
OVERLAP = 0.4
"""Fraction of the sum of two covalent radii below which atoms overlap. Pressures of planetary cores compress bonds to about 0.7."""
CUBE, MOST_IN_CUBE = 0.5, 250
"""Edge of a cube in Å, and the largest number of atoms in it. A site has at most 192 images under a space group, so more atoms mean that
one atom is listed many times."""
VACUUM = 8.0
"""Smallest vacuum along a direction in which a structure is not periodic, Å; periodic images do not interact across it."""


def check_structure(atoms: Atoms, where: str) -> None:
    """Check that a structure is a valid periodic crystal.

    Args:
        atoms: the structure.
        where: file and structure, for error messages.

    Raises:
        BadInput: the structure has no atoms or too many, non-finite or too large coordinates, no three-dimensional cell, a cell that is
            too flat or too long, unknown elements, partly occupied sites, or overlapping atoms (periodic images included).
    """
    check_atoms(atoms, where)
    if abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{where}: the structure has no three-dimensional cell; give a periodic crystal")
    planes = plane_distances(atoms.cell.array)
    if planes.min() < FLATTEST:
        raise BadInput(
            f"{where}: lattice planes along {'abc'[int(planes.argmin())]} are only {planes.min():.2g} Å apart; "
            "check the unit of the cell (Å), or give less sheared cell vectors"
        )
    longest = float(atoms.cell.lengths().max())
    if longest > LONGEST_CELL:
        raise BadInput(f"{where}: a cell vector is {longest:.4g} Å long; at most {LONGEST_CELL:g} Å can be read; is the cell in Å?")
    refuse_close_atoms(atoms, where)


def check_atoms(atoms: Atoms, where: str) -> None:
    """Check the atoms as `check_structure` does, without the cell.

    Raises:
        BadInput: see `check_structure`.
    """
    if len(atoms) == 0:
        raise BadInput(f"{where}: the structure has no atoms")
    if len(atoms) > MOST_ATOMS:
        raise BadInput(f"{where}: the structure has {len(atoms)} atoms; at most {MOST_ATOMS} can be read")
    for array in (atoms.positions, atoms.cell.array):
        if not np.isfinite(array).all():
            raise BadInput(f"{where}: a coordinate or cell vector is not a finite number")
        if np.abs(array).max(initial=0) > LARGEST:
            raise BadInput(f"{where}: a coordinate or cell vector is {np.abs(array).max():.3g} Å; give lengths in Å")
    if (atoms.numbers == 0).any():
        raise BadInput(f"{where}: an atom has the unknown element 'X'; give its element")
    occupancy = atoms.info.get("occupancy")
    if isinstance(occupancy, dict) and any(sum(site.values()) < 0.999 or len(site) > 1 for site in occupancy.values()):
        raise BadInput(f"{where}: sites are partly occupied; give an ordered structure")


def refuse_close_atoms(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` if atoms overlap, naming the pair that overlaps most.

    Periodic images are included if the structure has a three-dimensional cell.
    """
    refuse_crowds(atoms, where)
    radii = OVERLAP * covalent_radii[atoms.numbers]
    reach = max(2 * float(radii.max()), 1.0)
    i, j, d = close_pairs(atoms, reach)
    # ASE gives a covalent radius of 0.2 Å for elements without a known value.
    share = d / (radii[i] + radii[j])
    if not len(d) or share.min() >= 1:
        return
    worst = int(share.argmin())
    a, b, apart = int(i[worst]), int(j[worst]), float(d[worst])
    symbols = atoms.get_chemical_symbols()
    if a == b:
        raise BadInput(f"{where}: {symbols[a]} (atom {a + 1}) and its own image are {apart:.2f} Å apart; is the cell in Å?")
    hint = "correct the positions or the cell"
    if apart < 0.1:
        hint = "is an atom listed twice?" if symbols[a] == symbols[b] else "replace disordered sites by an ordered structure"
    raise BadInput(f"{where}: {symbols[a]} (atom {a + 1}) and {symbols[b]} (atom {b + 1}) are {apart:.2f} Å apart; {hint}")


def refuse_crowds(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` if more than `MOST_IN_CUBE` atoms share one small cube, because the list of their pairs would be too long."""
    points = atoms.positions
    if atoms.cell.rank == 3:
        counts = np.maximum(1, np.floor(plane_distances(atoms.cell.array)))
        if counts.prod() > MOST_CUBES and counts.min() * (MOST_CUBES / counts.prod()) ** (1 / 3) < 1:
            a, b, c = atoms.cell.lengths()
            raise BadInput(f"{where}: the cell of {a:.4g} by {b:.4g} by {c:.4g} Å is too wide and too flat; repeat or shorten it")
        points = atoms.get_scaled_positions(wrap=True) @ atoms.cell.array
    cubes = np.floor(points / CUBE).astype(np.int64)
    _, cube, counts = np.unique(cubes, axis=0, return_inverse=True, return_counts=True)
    if counts.max(initial=0) > MOST_IN_CUBE:
        number = int(np.flatnonzero(cube.ravel() == counts.argmax())[0])
        raise BadInput(
            f"{where}: {counts.max()} atoms are within {CUBE:g} Å of each other, such as {atoms.symbols[number]} (atom {number + 1}); "
            "are atoms listed several times?"
        )


def close_pairs(atoms: Atoms, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all pairs of atoms closer than `reach` (Å), periodic images included: first index, second index, distance in Å."""
    periodic = bool(atoms.cell.rank == 3)
    cell = minkowski_reduce(atoms.cell)[0] if periodic else np.zeros((3, 3))
    points = atoms.positions
    if periodic:
        scaled = points @ np.linalg.inv(cell)
        points = (scaled - np.floor(scaled)) @ cell
    # vesin imports torch, which workers that generate crystals or run an engine do not need.
    from vesin import NeighborList

    finder = NeighborList(cutoff=reach, full_list=False)
    i, j, d = finder.compute(points=points, box=cell, periodic=periodic, quantities="ijd")
    return i.astype(int), j.astype(int), d


def settle_periodicity(atoms: Atoms, where: str) -> None:
    """Set `pbc` to True in all directions of a structure with a cell, and issue an `InputNote` if it was not.

    Directions that were not periodic must contain vacuum, which becomes part of the cell. Atoms without a cell are not changed.

    Raises:
        BadInput: the vacuum along such a direction is thinner than `VACUUM`, or the cell has no vector along it.
    """
    if atoms.pbc.all() or atoms.cell.rank == 0:
        return
    open_axes = [axis for axis in range(3) if not atoms.pbc[axis]]
    names = ", ".join("abc"[axis] for axis in open_axes)
    if atoms.cell.rank < 3:
        raise BadInput(f"{where}: the cell has no vector along {names}; give one with {VACUUM:g} Å of vacuum")
    for axis in open_axes:
        empty = vacuum(atoms, axis)
        if empty < VACUUM:
            raise BadInput(
                f"{where}: pbc is F along {'abc'[axis]}, but the cell has only {empty:.1f} Å of vacuum there; "
                f"set pbc to T for a crystal, or give {VACUUM:g} Å of vacuum"
            )
    atoms.pbc = True
    warnings.warn(InputNote(f"{where}: not periodic along {names}; the vacuum is used as part of a periodic cell"), stacklevel=2)


def vacuum(atoms: Atoms, axis: int) -> float:
    """Return the width in Å of the thickest layer without atoms across a cell vector."""
    scaled = np.sort(atoms.get_scaled_positions(wrap=True)[:, axis])
    gaps = np.diff(np.append(scaled, scaled[0] + 1))
    return float(gaps.max() * plane_distances(atoms.cell.array)[axis])


def across_vacuum(atoms: Atoms) -> np.ndarray:
    """Return which cell vectors (3,) cross a vacuum of at least `VACUUM`, as the third one of a film does."""
    return np.array([vacuum(atoms, axis) >= VACUUM for axis in range(3)])


def require_crystal(atoms: Atoms, what: str) -> None:
    """Raise `BadInput` unless the atoms are periodic in three directions; the message begins with `what`, the calculation that needs it."""
    if len(atoms) == 0 or not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < 1e-3:
        raise BadInput(f"{what}: give atoms a cell and pbc=True in three directions")


def refuse_moments(atoms: Atoms, where: str, why: str) -> None:
    """Raise `BadInput` if a structure has starting moments that would be ignored; `why` is the explanation for the message."""
    if np.abs(atoms.get_initial_magnetic_moments()).max(initial=0) > 0:
        raise BadInput(f"{where}: the structure has starting moments, but {why}; remove the moments")


def refuse_constraints(atoms: Atoms, where: str) -> None:
    """Raise `BadInput` if a structure has constraints, because relaxations in nucleate move all atoms and the cell."""
    if atoms.constraints:
        names = ", ".join(sorted({type(constraint).__name__ for constraint in atoms.constraints}))
        raise BadInput(f"{where}: constraints on atoms ({names}, selective dynamics) are not supported; remove them from the file")
