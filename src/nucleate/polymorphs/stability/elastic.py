"""Elastic constants from stresses and forces of strained cells, for every member of a committee.

The cell is strained by +e and -e with the fractional positions kept, and the differences of stress and force give

    C0 = d sigma / d e          constants with clamped ions,
    L  = d f / d e              forces on the ions in a strained cell.

The ions then move to where the forces vanish. With the force constants P of the zone centre the constants with relaxed ions are

    C = C0 - L^T P^+ L / V

where P^+ leaves translations out (X. Wu, D. Vanderbilt and D. R. Hamann, Phys. Rev. B 72, 035105 (2005), doi 10.1103/PhysRevB.72.035105).
No relaxation is needed, and each member of a committee has its own constants. Only strains that symmetry does not relate are applied; each
rotation of the point group turns one response into another, and all of them together are fitted, so that C has the symmetry of the Laue
class. Under a pressure the constants are those that connect Cauchy stress and strain (T. H. K. Barron and M. L. Klein, Proc. Phys. Soc. 85,
523 (1965), doi 10.1088/0370-1328/85/3/313), which also decide the stability.

A crystal is elastically stable if all eigenvalues of C are positive (F. Mouhat and F.-X. Coudert, Phys. Rev. B 90, 224104 (2014), doi
10.1103/PhysRevB.90.224104). Bulk and shear modulus of a polycrystal are averaged after R. Hill, Proc. Phys. Soc. A 65, 349 (1952), doi
10.1088/0370-1298/65/5/307.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import spglib
from ase import Atoms

from nucleate.crystals.strain import VOIGT
from nucleate.polymorphs.stability.surface import Evaluated
from nucleate.units import GPA

SOFT = 1e-3
"""Eigenvalue of the force constants of the zone centre, eV/Å², below which the relaxed positions of the ions are not defined."""


@dataclass(frozen=True)
class Moduli:
    """Averages of the elastic constants over the orientations of a polycrystal, GPa: Voigt's and Reuss's bounds and Hill's mean.

    Attributes:
        bulk, shear: Hill's means.
        bulk_bounds, shear_bounds: Reuss's and Voigt's bounds.
    """

    bulk: float
    shear: float
    bulk_bounds: tuple[float, float]
    shear_bounds: tuple[float, float]


@dataclass(frozen=True)
class ElasticConstants:
    """Elastic constants in GPa, in Voigt order xx yy zz yz xz xy and the orientation of the primitive cell.

    Attributes:
        clamped: (m, 6, 6) constants with clamped ions.
        relaxed: (m, 6, 6) constants with relaxed ions; None: the zone centre has an unstable mode, so that they are not defined.
    """

    clamped: np.ndarray
    relaxed: np.ndarray | None

    @property
    def members(self) -> np.ndarray:
        """(m, 6, 6) constants of each member: with relaxed ions where they are defined."""
        return self.clamped if self.relaxed is None else self.relaxed

    @property
    def mean(self) -> np.ndarray:
        """(6, 6) mean over the members."""
        result: np.ndarray = self.members.mean(axis=0)
        return result

    @property
    def spread(self) -> np.ndarray | None:
        """(6, 6) standard deviation over the members; None for a single one."""
        return self.members.std(axis=0, ddof=1) if len(self.members) > 1 else None

    @property
    def eigenvalues(self) -> np.ndarray:
        """(6,) eigenvalues of the mean, ascending, GPa."""
        return np.linalg.eigvalsh(self.mean)

    @property
    def stable(self) -> bool:
        """Whether the crystal resists all strains."""
        return bool(self.eigenvalues[0] > 0)

    @property
    def stable_members(self) -> int:
        """Number of members on which the crystal resists all strains."""
        return int((np.linalg.eigvalsh(self.members)[:, 0] > 0).sum())


def moduli(constants: np.ndarray) -> Moduli | None:
    """Return the averages of (6, 6) elastic constants; None if they are not stable."""
    if np.linalg.eigvalsh(constants)[0] <= 0:
        return None
    compliance = np.linalg.inv(constants)
    bulk_voigt, bulk_reuss = float(constants[:3, :3].sum() / 9), float(1 / compliance[:3, :3].sum())
    shear_voigt = float((3 * np.trace(constants[:3, :3]) - constants[:3, :3].sum() + 6 * np.trace(constants[3:, 3:])) / 30)
    shear_reuss = float(30 / (12 * np.trace(compliance[:3, :3]) - 4 * compliance[:3, :3].sum() + 6 * np.trace(compliance[3:, 3:])))
    return Moduli(
        0.5 * (bulk_voigt + bulk_reuss), 0.5 * (shear_voigt + shear_reuss), (bulk_reuss, bulk_voigt), (shear_reuss, shear_voigt)
    )  # fmt: skip


class Strains:
    """Strained cells of one crystal.

    Args:
        atoms: primitive cell.
        size: magnitude of the strains; shears are engineering strains, twice the tensor's component.
    """

    def __init__(self, atoms: Atoms, size: float):
        self.atoms, self.size = atoms, size
        self.rotations, self.images = _operations(atoms)
        self.patterns: list[int] = []
        rank = 0
        for pattern in range(6):
            reached = np.linalg.matrix_rank(np.concatenate([self._orbit(k) for k in (*self.patterns, pattern)]), tol=1e-6)
            if reached > rank:
                rank = int(reached)
                self.patterns.append(pattern)

    def _orbit(self, pattern: int) -> np.ndarray:
        """Return the (n_operations, 6) strains into which the operations turn a pattern, as engineering strains."""
        tensor = _tensor(pattern)
        turned = self.rotations @ tensor @ self.rotations.transpose(0, 2, 1)
        strains: np.ndarray = _voigt(turned) * np.array([1, 1, 1, 2, 2, 2])
        return strains

    @property
    def structures(self) -> list[Atoms]:
        """Cells strained by + and - each pattern."""
        strained = []
        for pattern in self.patterns:
            for sign in (1, -1):
                copy = self.atoms.copy()
                copy.set_cell(self.atoms.cell.array @ (np.eye(3) + sign * self.size * _tensor(pattern)), scale_atoms=True)
                strained.append(copy)
        return strained

    def constants(self, evaluated: Evaluated, zone_centre: np.ndarray) -> ElasticConstants:
        """Return the elastic constants from the evaluated `structures`.

        Args:
            evaluated: stresses and forces of the structures.
            zone_centre: (m, n, n, 3, 3) force constants of displacements that are alike in all cells, eV/Å².
        """
        m, n = evaluated.members, len(self.atoms)
        strains, stresses, forces = [], [], []
        for k, pattern in enumerate(self.patterns):
            stress = (evaluated.stress[:, 2 * k] - evaluated.stress[:, 2 * k + 1]) / (2 * self.size)
            force = (evaluated.forces[2 * k] - evaluated.forces[2 * k + 1]) / (2 * self.size)
            strains.append(self._orbit(pattern))
            turn = self.rotations[:, None]
            stresses.append(_voigt(turn @ stress @ turn.transpose(0, 1, 3, 2)))
            moved = np.empty((len(self.rotations), m, n, 3))
            turned = np.einsum("gab,mnb->gmna", self.rotations, force)
            np.put_along_axis(moved, np.broadcast_to(self.images[:, None, :, None], moved.shape), turned, axis=2)
            forces.append(moved)
        inverse = np.linalg.pinv(np.concatenate(strains))
        clamped = np.einsum("ip,pmj->mij", inverse, np.concatenate(stresses))
        clamped = 0.5 * (clamped + clamped.transpose(0, 2, 1))
        response = np.einsum("ip,pmnx->minx", inverse, np.concatenate(forces)).reshape(m, 6, 3 * n)
        relaxed = self._relaxed(clamped, response, zone_centre)
        return ElasticConstants(clamped / GPA, None if relaxed is None else relaxed / GPA)

    def _relaxed(self, clamped: np.ndarray, response: np.ndarray, zone_centre: np.ndarray) -> np.ndarray | None:
        """Return (m, 6, 6) constants with relaxed ions in eV/Å³, or None if a member has no restoring force for a mode."""
        m, n = len(clamped), len(self.atoms)
        matrix = zone_centre.transpose(0, 1, 3, 2, 4).reshape(m, 3 * n, 3 * n)
        matrix = 0.5 * (matrix + matrix.transpose(0, 2, 1))
        # An orthonormal basis of the displacements without translations.
        translations = np.tile(np.eye(3), (n, 1))
        basis = np.linalg.svd(translations, full_matrices=True)[0][:, 3:]
        inner = basis.T @ matrix @ basis
        if inner.shape[-1] and np.linalg.eigvalsh(inner.mean(axis=0))[0] < SOFT:
            return None
        if inner.shape[-1] and np.linalg.eigvalsh(inner)[:, 0].min() < SOFT:
            return None
        pull = response @ basis
        result: np.ndarray = clamped - pull @ np.linalg.solve(inner, pull.transpose(0, 2, 1)) / self.atoms.get_volume()
        return result


def _tensor(pattern: int) -> np.ndarray:
    """Return the symmetric (3, 3) tensor of a unit engineering strain."""
    i, j = VOIGT[pattern]
    tensor = np.zeros((3, 3))
    tensor[i, j] += 0.5
    tensor[j, i] += 0.5
    return tensor


def _voigt(tensors: np.ndarray) -> np.ndarray:
    """Return the components (..., 6) of symmetric (..., 3, 3) tensors."""
    return np.stack([tensors[..., i, j] for i, j in VOIGT], axis=-1)


def _operations(atoms: Atoms) -> tuple[np.ndarray, np.ndarray]:
    """Return Cartesian rotations (g, 3, 3) of the space group, and (g, n_atoms) the atom onto which each operation moves an atom."""
    scaled = atoms.get_scaled_positions()
    found = spglib.get_symmetry((atoms.cell.array, scaled, atoms.numbers), symprec=1e-4)
    rotations, shifts = (np.eye(3, dtype=int)[None], np.zeros((1, 3))) if found is None else (found["rotations"], found["translations"])
    vectors = atoms.cell.array.T
    cartesian = vectors @ rotations @ np.linalg.inv(vectors)
    moved = np.einsum("gab,nb->gna", rotations, scaled) + shifts[:, None]
    difference = moved[:, :, None] - scaled
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ atoms.cell.array, axis=-1)
    distance[:, atoms.numbers[:, None] != atoms.numbers] = np.inf
    return cartesian, distance.argmin(axis=2)
