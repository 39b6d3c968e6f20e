"""Point groups of molecules, and orientations in which a molecule has the symmetry of a crystal site."""

from __future__ import annotations

import numpy as np

from nucleate.crystals import point_groups
from nucleate.crystals.point_groups import axis_of, rotation_between, turned
from nucleate.molecules.molecule import Molecule

TOLERANCE = 0.25
"""Largest displacement of an atom by a symmetry operation of a molecule, Å; molecules are made exactly symmetric where they are placed."""


def mapping(numbers: np.ndarray, positions: np.ndarray, image: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray | None:
    """Return for each atom of `image` the atom of the molecule at its place; None if there is none within the tolerance (Å)."""
    return point_groups.mapping(numbers, positions, image, tolerance)


def point_group(molecule: Molecule, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return the (g, 3, 3) orthogonal matrices that map a molecule onto itself; those of a linear molecule are not complete."""
    return point_groups.point_group(molecule.numbers, molecule.positions, tolerance, point_groups.STRAIGHT)


def kind_of(op: np.ndarray) -> tuple[int, int]:
    """Return determinant and rounded angle (degrees) of an orthogonal matrix, which are those of its conjugates."""
    sign = round(float(np.linalg.det(op)))
    cosine = np.clip((np.trace(op * sign) - 1) / 2, -1.0, 1.0)
    return sign, round(float(np.degrees(np.arccos(cosine))) / 10)


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """Return a random proper rotation, uniform over all orientations (K. Shoemake, Graphics Gems III, 124 (1992))."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _is_new(rotation: np.ndarray, starts: list[tuple[np.ndarray, np.ndarray | None]]) -> bool:
    """Return whether a rotation differs from all rotations found before."""
    return all(np.abs(rotation - known).max() > 0.05 for known, _ in starts)


def _distinct(vectors: np.ndarray) -> np.ndarray:
    """Return (n, 3) vectors without those that repeat an earlier one: a cubic group names each of its directions a hundred times."""
    _, first = np.unique(np.round(vectors, 6) + 0.0, axis=0, return_index=True)
    return np.asarray(vectors[np.sort(first)])


class SiteOrientations:
    """Orientations of a molecule that have the symmetry of a site.

    Args:
        molecule: the molecule.
        group: its point group, from `point_group`.
        site: (s, 3, 3) Cartesian matrices of the site symmetry, the identity included.
        tolerance: largest displacement of an atom by an operation of the site, Å.
    """

    def __init__(self, molecule: Molecule, group: np.ndarray, site: np.ndarray, tolerance: float = TOLERANCE):
        self.molecule, self.site, self.tolerance = molecule, site, tolerance
        self.others = [op for op in site if not np.allclose(op, np.eye(3), atol=1e-4)]
        self.axes = [(op, axis_of(op)) for op in self.others]
        self.linear = len(molecule) > 1 and molecule.linear
        if self.linear:
            self.starts: list[tuple[np.ndarray, np.ndarray | None]] = self._linear()
        else:
            self.starts = self._nonlinear(group)

    @property
    def possible(self) -> bool:
        """Whether the molecule fits the site."""
        return len(self.starts) > 0

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random orientation as a (3, 3) matrix that is applied to the positions of the molecule as columns."""
        start, axis = self.starts[int(rng.integers(len(self.starts)))]
        if np.isnan(start).any():
            return random_rotation(rng)
        if axis is None:
            return start
        return np.asarray(turned(axis, rng.uniform(0, 2 * np.pi)) @ start)

    def _nonlinear(self, group: np.ndarray) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Return rotations, each with the axis about which the molecule may be turned; NaN: any orientation."""
        free = (np.full((3, 3), np.nan), None)
        with_axes = [(op, axis) for op, axis in self.axes if axis is not None]
        if any(axis is None for _, axis in self.axes) and not any(np.allclose(op, -np.eye(3), atol=0.05) for op in group):
            return []
        if len(self.molecule) == 1 or not with_axes:
            return [free]
        # The site symmetry must be a subgroup of the point group: two of its axes are aligned, and all operations are checked.
        first, u = with_axes[0]
        rest = [(op, axis) for op, axis in with_axes if abs(axis @ u) < 0.99]
        starts: list[tuple[np.ndarray, np.ndarray | None]] = []
        axes = [(op, axis_of(op)) for op in group]
        for p, a in axes:
            if a is None or kind_of(p) != kind_of(first):
                continue
            for sign in (1.0, -1.0):
                onto = rotation_between(sign * a, u)
                if not rest:
                    if self._holds(onto):
                        starts.append((onto, u))
                    continue
                second, v = rest[0]
                for q, b in axes:
                    if b is None or kind_of(q) != kind_of(second):
                        continue
                    for other in (1.0, -1.0):
                        c = onto @ (other * b)
                        flat_c, flat_v = c - (c @ u) * u, v - (v @ u) * u
                        if abs(c @ u - v @ u) > 0.1 or np.linalg.norm(flat_c) < 0.1:
                            continue
                        angle = np.arctan2(np.cross(flat_c, flat_v) @ u, flat_c @ flat_v)
                        rotation = turned(u, float(angle)) @ onto
                        if _is_new(rotation, starts) and self._holds(rotation):
                            starts.append((rotation, None))
        return starts

    def _linear(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Return rotations of a linear molecule: along an axis of the site, or perpendicular to one."""
        line = self.molecule.positions[int(np.argmax(np.linalg.norm(self.molecule.positions, axis=1)))]
        line = line / np.linalg.norm(line)
        axes = [axis for _, axis in self.axes if axis is not None]
        if not axes:
            held = self._holds(np.eye(3))
            return [(np.full((3, 3), np.nan), None)] if held else []
        starts: list[tuple[np.ndarray, np.ndarray | None]] = []
        directions = [*axes, *(np.cross(a, b) for k, a in enumerate(axes) for b in axes[:k])]
        # Sums and differences of axes are the other directions that a group of several axes can keep.
        directions += [a + sign * b for k, a in enumerate(axes) for b in axes[:k] for sign in (1.0, -1.0)]
        lengths = np.linalg.norm(directions, axis=1)
        units = np.array(directions)[lengths > 0.1] / lengths[lengths > 0.1, None]
        for direction in _distinct(np.stack([units, -units], axis=1).reshape(-1, 3)):
            rotation = rotation_between(line, direction)
            if _is_new(rotation, starts) and self._holds(rotation):
                starts.append((rotation, None))
        for axis in axes:
            across = np.cross(axis, np.eye(3)[int(np.argmin(abs(axis)))])
            # Two directions in general position: if both hold, every direction perpendicular to the axis does.
            some = [turned(axis, angle) @ rotation_between(line, across / np.linalg.norm(across)) for angle in (0.37, 1.21)]
            if all(self._holds(rotation) for rotation in some):
                starts.append((some[0], axis))
        return starts

    def _holds(self, rotation: np.ndarray) -> bool:
        """Return whether the turned molecule has all operations of the site."""
        positions = self.molecule.positions @ rotation.T
        return all(mapping(self.molecule.numbers, positions, positions @ op.T, self.tolerance) is not None for op in self.others)

    def symmetrised(self, rotation: np.ndarray) -> np.ndarray:
        """Return the (n, 3) positions of the turned molecule, averaged over the operations of the site."""
        positions = self.molecule.positions @ rotation.T
        total = np.zeros_like(positions)
        for op in self.site:
            image = positions @ op.T
            found = mapping(self.molecule.numbers, positions, image, self.tolerance)
            assert found is not None
            # Atom k of the image lies at the place of atom found[k].
            total[found] += image
        return np.asarray(total / len(self.site))
