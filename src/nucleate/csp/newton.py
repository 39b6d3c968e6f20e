"""Quasi-Newton steps of a lead, with gradients of the reference and the Hessian of the committee.

The initial Hessian is that of the committee, computed by finite differences in one batch and made positive definite. Each pair of
consecutive reference labels of the lead then corrects it by a BFGS update (J. Nocedal and S. J. Wright, Numerical Optimization, Springer
2006, doi 10.1007/978-0-387-40065-5, eq. 6.19). The curvature of a committee is accurate after few labels; the gradient is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.strain import full_from_voigt
from nucleate.potentials.base import Potential
from nucleate.relax.batched import CommitteeSurface
from nucleate.relax.state import Evaluation, State, evaluate, free_strain, row_owner
from nucleate.units import GPA

SOFTEST, STIFFEST = 1.0, 80.0
"""Bounds of the absolute eigenvalues of the committee's Hessian, eV/Å²."""
SOFTEST_MOLECULES = 0.3
"""Lower bound in molecular crystals, eV/Å²; vibrations of whole molecules have some 0.1 eV/Å²."""
SOFTEST_STRAIN = 0.3
"""Lower bound for strains relative to that for atoms, see `Frame.hessian`; that of a shear modulus of 25 GPa in an oxide."""
DISPLACEMENT = 0.02
"""Displacement of the finite differences, Å."""
_SYMMETRIC = torch.zeros(6, 3, 3, dtype=torch.float64)
"""Orthonormal basis of the symmetric 3x3 matrices, in Voigt order."""
for _k, (_i, _j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
    _SYMMETRIC[_k, _i, _j] = _SYMMETRIC[_k, _j, _i] = 1.0 if _i == _j else 0.5**0.5


class Frame:
    """Coordinates of a lead: atomic positions and logarithmic strain relative to the cell of its first label.

    A vector consists of 3 n atomic coordinates (Å) and six components of n times the symmetric strain.

    Args:
        origin: the structure whose cell is the frame.
        pressure: external pressure, GPa.
    """

    def __init__(self, origin: Atoms, pressure: float):
        self.origin = origin
        self.pressure = pressure * GPA
        self.n = len(origin)
        self._free = free_strain(CrystalBatch.from_atoms([origin]))[0]

    def _states(self, vectors: Tensor) -> State:
        """Return the state of a batch of copies at the coordinates `vectors` (k, 3 n + 6), not evaluated."""
        k = len(vectors)
        batch = CrystalBatch.from_atoms([self.origin] * k)
        atoms = vectors[:, : 3 * self.n].reshape(-1, 3)
        strain = torch.einsum("kc,cij->kij", vectors[:, 3 * self.n :], _SYMMETRIC).reshape(-1, 3)
        coordinates = torch.cat([atoms, strain])
        zero = batch.cells.new_zeros(k)
        return State(
            batch, batch.cells, coordinates, coordinates, row_owner(batch), zero, batch.positions,
            batch.cells, zero, torch.zeros(k, dtype=torch.int64), {},
        )  # fmt: skip

    def _vectors(self, rows: Tensor, k: int) -> Tensor:
        """Convert a row tensor of k copies to (k, 3 n + 6) vectors."""
        atoms = rows[: k * self.n].reshape(k, 3 * self.n)
        cells = rows[k * self.n :].reshape(k, 3, 3)
        return torch.cat([atoms, torch.einsum("kij,cij->kc", cells, _SYMMETRIC)], dim=1)

    def beginning(self) -> np.ndarray:
        """Return the (3 n + 6,) coordinates of the origin."""
        return np.concatenate([self.origin.positions.flatten(), np.zeros(6)])

    def atoms(self, vector: np.ndarray) -> Atoms:
        """Return the structure at given coordinates."""
        (atoms,) = self._evaluated(vector, np.zeros((self.n, 3)), np.zeros(6)).batch.to_atoms()
        return atoms

    def gradient(self, vector: np.ndarray, forces: np.ndarray, stress: np.ndarray) -> np.ndarray:
        """Return the (3 n + 6,) gradient of the enthalpy at a labelled structure, eV/Å.

        Args:
            vector: (3 n + 6,) coordinates of the structure.
            forces: (n, 3) forces, eV/Å.
            stress: (6,) stress, eV/Å³.
        """
        state = self._evaluated(vector, forces, stress)
        return -self._vectors(state.gradient_force, 1)[0].numpy()

    def _evaluated(self, vector: np.ndarray, forces: np.ndarray, stress: np.ndarray) -> State:
        """Return the state at given coordinates with given forces and stress."""
        evaluation = Evaluation(
            torch.zeros(1, dtype=torch.float64),
            torch.as_tensor(np.array(forces)),
            full_from_voigt(torch.as_tensor(np.array(stress))).unsqueeze(0),
            torch.zeros(1, dtype=torch.float64),
        )
        state = self._states(torch.as_tensor(np.asarray(vector)).unsqueeze(0))
        return evaluate(state, lambda batch: evaluation, self.pressure, variable_cell=True)

    def hessian(self, model: Potential, vector: np.ndarray, softest: float = SOFTEST) -> np.ndarray:
        """Return the Hessian of the committee's enthalpy, made positive definite.

        Strains are measured in units in which their curvature does not depend on the number of atoms. In those of the coordinates it falls
        with the number, and the lower bound would shorten the steps of large cells.

        Args:
            model: the committee.
            vector: (3 n + 6,) coordinates.
            softest: lower bound of the absolute eigenvalues, eV/Å².

        Returns:
            (3 n + 6, 3 n + 6) matrix, eV/Å².
        """
        units = np.ones(3 * self.n + 6)
        units[3 * self.n :] = (SOFTEST_STRAIN / self.n) ** 0.5 * (self.origin.get_volume() / self.n) ** (1 / 3)
        values, modes = np.linalg.eigh(self.curvature(model, vector) / np.outer(units, units))
        stiff: np.ndarray = (modes * np.abs(values).clip(softest, STIFFEST) @ modes.T) * np.outer(units, units)
        return stiff

    def curvature(self, model: Potential, vector: np.ndarray) -> np.ndarray:
        """Return the (3 n + 6, 3 n + 6) Hessian of the committee's enthalpy by central differences of its gradient, eV/Å²."""
        size = 3 * self.n + 6
        centre = torch.as_tensor(np.asarray(vector))
        shifts = DISPLACEMENT * torch.eye(size, dtype=torch.float64)
        state = self._states(torch.cat([centre + shifts, centre - shifts]))
        state = evaluate(state, CommitteeSurface(model, skin=0.0), self.pressure, variable_cell=True)
        gradient = -self._vectors(state.gradient_force, 2 * size)
        matrix = (gradient[:size] - gradient[size:]) / (2 * DISPLACEMENT)
        matrix = torch.nan_to_num(0.5 * (matrix + matrix.T))
        # Strains that the structure does not have are stiff, so that no step and no soft mode contains them.
        fixed = torch.cat([torch.zeros(3 * self.n, dtype=torch.bool), torch.einsum("kij,ij->k", _SYMMETRIC, 1 - self._free) > 0])
        matrix[fixed] = 0.0
        matrix[:, fixed] = 0.0
        matrix[fixed, fixed] = STIFFEST
        result: np.ndarray = matrix.numpy()
        return result


def bfgs(hessian: np.ndarray, points: list[np.ndarray], gradients: list[np.ndarray]) -> np.ndarray:
    """Update a positive definite Hessian with consecutive points and gradients; pairs without positive curvature are damped."""
    matrix = hessian.copy()
    for before in range(len(points) - 1):
        s = points[before + 1] - points[before]
        y = gradients[before + 1] - gradients[before]
        along = matrix @ s
        curvature = float(s @ along)
        if curvature < 1e-10:
            continue
        # Powell's damping keeps the matrix positive definite (Nocedal and Wright, procedure 18.2).
        theta = 1.0 if s @ y >= 0.2 * curvature else 0.8 * curvature / (curvature - float(s @ y))
        r = theta * y + (1 - theta) * along
        matrix += np.outer(r, r) / float(s @ r) - np.outer(along, along) / curvature
    return matrix


def newton_step(hessian: np.ndarray, gradient: np.ndarray, trust: float) -> np.ndarray:
    """Return the quasi-Newton step, shortened so that no atom or cell vector moves further than `trust` (Å)."""
    step = -np.linalg.solve(hessian, gradient)
    return step * min(1.0, trust / max(longest_move(step), 1e-12))


def longest_move(step: np.ndarray) -> float:
    """Return the largest displacement of an atom or a cell vector in a step, Å."""
    return float(np.linalg.norm(step.reshape(-1, 3), axis=1).max())
