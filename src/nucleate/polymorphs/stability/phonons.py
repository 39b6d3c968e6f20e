"""Phonons by finite displacements, for every member of a committee.

The atoms of a supercell are displaced along directions that symmetry reduces, and the force constants follow from the forces (K.
Parlinski, Z. Q. Li and Y. Kawazoe, Phys. Rev. Lett. 78, 4063 (1997), doi 10.1103/PhysRevLett.78.4063), by phonopy (A. Togo, J. Phys. Soc.
Jpn. 92, 012001 (2023), doi 10.7566/JPSJ.92.012001). The forces of the supercell without displacements are subtracted, because the minimum
of the committee's mean is not that of each member. Force constants are symmetrised, so that translations have no restoring force.
Imaginary frequencies are given as negative numbers. The splitting of longitudinal and transversal optical modes by the field of the ions
in insulators is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.errors import MissingDependency
from nucleate.polymorphs.stability.surface import Evaluated

PATH_DENSITY = 25.0
"""Number of points of the band path for each 1/Å, with the factor 2 pi left out."""
MESH_LENGTH = 60.0
"""Length in Å whose ratio to a lattice vector is the number of q points of the mesh along it."""
SMEARING = 0.015
"""Width of the Gaussians of the density of states, relative to the highest frequency."""


def _phonopy(atoms: Atoms, matrix: np.ndarray) -> Any:
    """Return a Phonopy object of a primitive cell."""
    try:
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms
    except ImportError as error:
        raise MissingDependency("phonopy is not installed; run: pip install 'nucleate[stability]'") from error
    cell = PhonopyAtoms(symbols=atoms.get_chemical_symbols(), cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions())
    # phonopy has the vectors of the supercell as columns.
    return Phonopy(cell, matrix.T, primitive_matrix=np.eye(3), log_level=0)


def require_phonopy() -> None:
    """Raise `MissingDependency` if phonopy is not installed."""
    _phonopy(Atoms("H", cell=np.eye(3), pbc=True), np.eye(3, dtype=int))


class Displacements:
    """Displaced supercells of one crystal.

    Args:
        atoms: primitive cell.
        matrix: (3, 3) integers; the vectors of the supercell are its rows times the primitive vectors.
        distance: displacement of an atom, Å.

    Raises:
        MissingDependency: phonopy is not installed.
    """

    def __init__(self, atoms: Atoms, matrix: np.ndarray, distance: float):
        self.atoms, self.matrix = atoms, np.asarray(matrix)
        self.tool = _phonopy(atoms, self.matrix)
        self.tool.generate_displacements(distance=distance)

    @property
    def structures(self) -> list[Atoms]:
        """The supercell without displacements, followed by the displaced ones."""
        return [_as_atoms(cell) for cell in (self.tool.supercell, *self.tool.supercells_with_displacements)]

    def phonons(self, evaluated: Evaluated) -> Phonons:
        """Return the phonons from the evaluated `structures`."""
        perfect, *displaced = evaluated.forces
        # (m, displacements, n_atoms, 3)
        forces = np.stack([each - perfect for each in displaced], axis=1)
        constants = []
        for member in forces:
            self.tool.forces = np.ascontiguousarray(member)
            self.tool.produce_force_constants(calculate_full_force_constants=False, show_drift=False)
            self.tool.symmetrize_force_constants(level=3, show_drift=False)
            constants.append(self.tool.force_constants.copy())
        return Phonons(self.atoms, self.matrix, self.tool, np.stack(constants))


def _as_atoms(cell: Any) -> Atoms:
    return Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)


@dataclass(frozen=True)
class Frequencies:
    """Frequencies at q points, in THz; imaginary ones are negative.

    Attributes:
        mean: (n_q, n_bands) frequencies of the mean of the committee, ascending.
        members: (m, n_q, n_bands) frequencies of each member.
    """

    mean: np.ndarray
    members: np.ndarray

    @property
    def spread(self) -> np.ndarray | None:
        """(n_q, n_bands) standard deviation over the members; None for a single one."""
        return self.members.std(axis=0, ddof=1) if len(self.members) > 1 else None


@dataclass(frozen=True)
class Phonons:
    """Force constants of a crystal.

    Attributes:
        atoms: primitive cell.
        matrix: (3, 3) supercell; its rows times the primitive vectors are the vectors of the supercell.
        tool: the Phonopy object, whose force constants are replaced by those of each member in turn.
        constants: (m, n_primitive, n_supercell, 3, 3) force constants of each member, eV/Å².
    """

    atoms: Atoms
    matrix: np.ndarray
    tool: Any
    constants: np.ndarray

    def _at(self, constants: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Return the (n_q, n_bands) frequencies of one set of force constants."""
        self.tool.force_constants = constants
        result: np.ndarray = np.array(self.tool.run_qpoints(points).frequencies)
        return result

    def frequencies(self, points: Sequence[Sequence[float]] | np.ndarray) -> Frequencies:
        """Return the frequencies at q points, given in units of the reciprocal vectors of the primitive cell."""
        points = np.atleast_2d(np.asarray(points, dtype=float))
        # Forces are linear in the members, so the force constants of the mean are the mean of theirs.
        mean = self._at(self.constants.mean(axis=0), points)
        if len(self.constants) == 1:
            return Frequencies(mean, mean[None])
        return Frequencies(mean, np.stack([self._at(each, points) for each in self.constants]))

    def modes(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (n_bands,) frequencies of the mean and (n_bands, n_atoms, 3) complex polarisation vectors at one q point."""
        self.tool.force_constants = self.constants.mean(axis=0)
        found = self.tool.run_qpoints(np.atleast_2d(point), with_eigenvectors=True)
        vectors = np.array(found.eigenvectors[0]).T.reshape(-1, len(self.atoms), 3)
        return np.array(found.frequencies[0]), vectors

    @property
    def commensurate(self) -> np.ndarray:
        """(n, 3) q points whose waves fit into the supercell, at which the frequencies have no error of interpolation."""
        from phonopy.harmonic.dynmat_to_fc import get_commensurate_points

        points = np.array(get_commensurate_points(self.matrix.T))
        points -= np.rint(points)
        # The boundary of the zone has two equivalent coordinates, -1/2 and 1/2.
        points[np.isclose(points, -0.5)] = 0.5
        return points[np.argsort(np.linalg.norm(points, axis=1), kind="stable")]

    def mesh(self, length: float = MESH_LENGTH) -> tuple[np.ndarray, Frequencies]:
        """Return the (n_q,) weights, with the sum 1, and the frequencies of a mesh that symmetry reduces."""
        self.tool.force_constants = self.constants.mean(axis=0)
        numbers = np.maximum(1, np.ceil(length / self.atoms.cell.lengths())).astype(int)
        found = self.tool.run_mesh(numbers, is_gamma_center=True)
        weights = np.array(found.weights, dtype=float)
        return weights / weights.sum(), self.frequencies(np.array(found.qpoints))

    def path(self) -> BandPath:
        """Return the frequencies along the band path of the Bravais lattice, with the special points of ASE."""
        path = self.atoms.cell.bandpath(density=PATH_DENSITY)
        distances, ticks, labels = path.get_linear_kpoint_axis()
        return BandPath(np.array(distances), np.array(ticks), list(labels), self.frequencies(path.kpts))


@dataclass(frozen=True)
class BandPath:
    """Frequencies along a path.

    Attributes:
        distances: (n_q,) position of each q point on the axis.
        ticks: positions of the special points.
        labels: their names.
        frequencies: frequencies at the points.
    """

    distances: np.ndarray
    ticks: np.ndarray
    labels: list[str]
    frequencies: Frequencies


def density_of_states(weights: np.ndarray, frequencies: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return the density of states in states per THz and primitive cell, smeared by Gaussians.

    Args:
        weights: (n_q,) weights of the q points.
        frequencies: (n_q, n_bands) frequencies, THz.
        axis: (n,) frequencies at which the density is returned, THz.
    """
    width = SMEARING * float(np.abs(frequencies).max())
    bins = np.linspace(min(axis[0], frequencies.min()) - width, max(axis[-1], frequencies.max()) + width, 20 * len(axis))
    # A histogram is smeared instead of the states, of which there may be a million.
    counts, edges = np.histogram(frequencies, bins, weights=np.broadcast_to(weights[:, None], frequencies.shape))
    centres = 0.5 * (edges[1:] + edges[:-1])
    shape = np.exp(-0.5 * ((axis[:, None] - centres) / width) ** 2) / (width * np.sqrt(2 * np.pi))
    result: np.ndarray = shape @ counts
    return result
