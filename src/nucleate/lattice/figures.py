"""Figures of a cluster expansion: points, pairs, triplets and larger sets of sites, grouped by symmetry.

J. M. Sanchez, F. Ducastelle and D. Gratias, Physica A 128, 334 (1984), doi 10.1016/0378-4371(84)90096-7. The functions on a site are the
occupations of its species, without the last one of its list: for Li and a vacancy there is one, which is 1 where there is Li. Energies are
then sums over interactions of the atoms that are there, as in a lattice gas. With all subsets of the figures included, they span the same
energies as orthogonal functions.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nucleate.crystals.images import lattice_translations
from nucleate.errors import BadInput
from nucleate.lattice.parent import Parent

MOST_POINTS = 6
"""Largest number of points of a figure."""
MOST_FIGURES = 5000
"""Largest number of classes of figures."""
SAME = 1e-4
"""Distances that differ by less are equal, Å."""
Point = tuple[int, int, int, int, int]
"""A point of a figure: cell (3), active site, and index of the species whose occupation it is."""
Figure = tuple[Point, ...]


@dataclass(frozen=True)
class Orbit:
    """A class of figures that symmetry maps to one another.

    Attributes:
        figures: The figures per primitive cell, each a sorted tuple of points, the first of which is in cell 0.
        longest: Largest distance of two points, Å; 0 for points and the empty figure.
    """

    figures: tuple[Figure, ...]
    longest: float

    @property
    def points(self) -> int:
        """Number of points of a figure."""
        return len(self.figures[0])

    @property
    def multiplicity(self) -> int:
        """Number of figures per primitive cell."""
        return len(self.figures)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return cells (f, k, 3), active sites (f, k) and species (f, k) of the figures."""
        data = np.array(self.figures, dtype=int).reshape(self.multiplicity, self.points, 5)
        return data[:, :, :3], data[:, :, 3], data[:, :, 4]

    def name(self, parent: Parent) -> str:
        """Return a short description, such as 'pair 2.466 Å'."""
        kind = ("empty", "point", "pair", "triplet", "quadruplet", "quintuplet", "sextuplet")[self.points]
        species = [parent.allowed[point[3]][point[4]] for point in self.figures[0]] if self.points else []
        text = f"{kind} {'-'.join(sorted(species))}" if species else kind
        return f"{text} {self.longest:.3f} Å" if self.points > 1 else text


def _shifted(figure: Figure, cell: tuple[int, int, int]) -> Figure:
    x, y, z = cell
    return tuple(sorted((a - x, b - y, c - z, s, f) for a, b, c, s, f in figure))


def _anchored(figure: Figure) -> Figure:
    """Return the translation of a figure that all its translations share."""
    return min((_shifted(figure, point[:3]) for point in figure), default=())


def _images(figure: Figure, parent: Parent) -> tuple[Figure, ...]:
    """Return the distinct images of a figure under the operations of the parent, without translations."""
    if not figure:
        return ((),)
    data = np.array(figure)
    images = set()
    for rotation, image, shift in parent.operations:
        cells = data[:, :3] @ rotation.T + shift[data[:, 3]]
        rows = zip(cells.tolist(), image[data[:, 3]].tolist(), data[:, 4].tolist(), strict=True)
        images.add(_anchored(tuple((c[0], c[1], c[2], s, f) for c, s, f in rows)))
    return tuple(sorted(images))


def find_orbits(parent: Parent, cutoffs: list[float]) -> list[Orbit]:
    """Return the classes of figures, the empty figure first, then by number of points and length.

    Args:
        parent: The parent lattice.
        cutoffs: Largest distance of two points of pairs, triplets, ... in Å; an empty list gives points alone.

    Raises:
        BadInput: A cutoff is not positive or grows with the number of points, or there are more than `MOST_FIGURES` classes.
    """
    if len(cutoffs) + 1 > MOST_POINTS:
        raise BadInput(f"cutoffs: figures have up to {MOST_POINTS} points; give at most {MOST_POINTS - 1} numbers")
    if any(not 0 < c < 1e3 for c in cutoffs):
        raise BadInput("cutoffs: give positive distances in Å, for pairs, triplets and so on")
    if any(later > earlier + SAME for earlier, later in itertools.pairwise(cutoffs)):
        raise BadInput("cutoffs: must not grow with the number of points, since the pairs of a triplet are figures too")
    widest = max(cutoffs, default=0.0)
    offsets = lattice_translations(parent.cell, widest + _extent(parent), low=0.0, high=0.0) if cutoffs else np.zeros((1, 3), dtype=int)
    offsets = np.unique(np.where(parent.periodic, offsets, 0), axis=0)
    where = {s: parent.scaled[s] for s in range(len(parent.active))}
    functions = {s: range(len(names) - 1) for s, names in enumerate(parent.allowed)}

    def place(point: Point) -> np.ndarray:
        result: np.ndarray = (np.array(point[:3]) + where[point[3]]) @ parent.cell
        return result

    # All points near each site of cell 0, with their positions.
    near: list[Point] = [(*(int(n) for n in cell), s, f) for cell in offsets for s in where for f in functions[s]]  # type: ignore[misc]
    positions = np.array([place(point) for point in near])
    orbits = [Orbit(((),), 0.0)]
    level: list[tuple[Figure, float]] = []
    known: set[Figure] = set()
    for s in where:
        for f in functions[s]:
            figure: Figure = ((0, 0, 0, s, f),)
            if _anchored(figure) not in known:
                images = _images(figure, parent)
                known.update(images)
                orbits.append(Orbit(images, 0.0))
                level.append((images[0], 0.0))
    for cutoff in cutoffs:
        found: list[Orbit] = []
        for figure, longest in level:
            if longest > cutoff + SAME:
                continue
            here = np.array([place(point) for point in figure])
            distances = np.linalg.norm(positions[:, None] - here, axis=2)
            for k in np.flatnonzero((distances.max(axis=1) <= cutoff + SAME) & (distances.min(axis=1) > SAME)):
                larger = _anchored((*figure, near[k]))
                if larger in known:
                    continue
                images = _images(larger, parent)
                known.update(images)
                points = np.array([place(point) for point in larger])
                found.append(Orbit(images, float(np.linalg.norm(points[:, None] - points, axis=2).max())))
                if len(orbits) + len(found) > MOST_FIGURES:
                    raise BadInput(f"cutoffs: there are more than {MOST_FIGURES} classes of figures; lower them")
        found.sort(key=lambda orbit: (round(orbit.longest, 4), orbit.figures))
        orbits += found
        level = [(orbit.figures[0], orbit.longest) for orbit in found]
    return orbits


def _extent(parent: Parent) -> float:
    """Return the largest distance of two active sites of the primitive cell, Å."""
    positions = parent.scaled @ parent.cell
    return float(np.linalg.norm(positions[:, None] - positions, axis=2).max())
