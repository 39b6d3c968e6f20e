"""Edges of some atoms within the cutoff, with their radial functions, on which the kernels of the fused evaluation work."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.potentials.basis import N_LM
from nucleate.potentials.fused import edges as kernels
from nucleate.potentials.fused.forces import add_forces, transposed_forces


class BatchArrays:
    """A batch and its neighbour list as arrays.

    Args:
        batch: The structures.
        edges: Neighbour list, ascending in the centre.
        kind: (n_atoms,) index of the species of every atom.
    """

    def __init__(self, batch: CrystalBatch, edges: Edges, kind: Tensor):
        self.positions, self.cells = batch.positions.detach().double().numpy(), batch.cells.detach().double().numpy()
        self.structure, self.kind = batch.structure.numpy(), kind.numpy()
        self.neighbour, self.shift = edges.neighbour.numpy(), edges.shift.double().numpy()
        self.starts = kernels.row_starts(edges.centre.numpy(), len(self.positions))
        self.n_atoms, self.n_structures = len(self.positions), len(self.cells)


class Surroundings:
    """Edges of some atoms within the cutoff.

    Args:
        arrays: The batch.
        atoms: (n,) indices of the atoms.
        n_radial: Number of radial functions.
        cutoff: Cutoff radius, Å.
    """

    def __init__(self, arrays: BatchArrays, atoms: Tensor, n_radial: int, cutoff: float):
        a = self._arrays = arrays
        self.atoms = atoms.numpy()
        most = int((a.starts[self.atoms + 1] - a.starts[self.atoms]).sum()) + 1
        self._first, self._other, self._number = np.empty(len(atoms) + 1, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
        self._vectors, self._distance = np.empty((3, most), np.float32), np.empty(most, np.float32)
        self.count = kernels.edges_within(
            self.atoms, a.starts, a.neighbour, a.shift, a.positions, a.cells, a.structure, cutoff,
            self._first, self._other, self._vectors, self._distance, self._number,
        )  # fmt: skip
        self._value, self._slope = np.empty((2, n_radial, most), np.float32)
        kernels.radial_values(self._distance, self.count, cutoff, self._value)
        kernels.radial_slopes(self._distance, self.count, cutoff, self._value, self._slope)

    def closer_than(self, reach: float) -> np.ndarray:
        """Return the places in the neighbour list of the edges that are shorter than `reach`, Å."""
        result: np.ndarray = self._number[: self.count][self._distance[: self.count] < reach]
        return result

    def basis(self, species: int) -> Tensor:
        """Return the (16, n, species, k) atomic basis of the atoms."""
        result = torch.empty(N_LM, len(self.atoms), species, len(self._value))
        kernels.atomic_basis(self._first, self._other, self._arrays.kind, self._vectors, self._value, kernels.NORMS, result.numpy())
        return result

    def add_forces(self, gradient: Tensor, forces: Tensor, virial: Tensor) -> None:
        """Add forces (m, n_atoms, 3) and strain derivatives (m, n_structures, 3, 3) from dE/dA_0 (m, 16, n, species, k)."""
        add_forces(*self._edges(), gradient.numpy(), forces.numpy(), virial.numpy())

    def transposed(self, forces: Tensor, virial: Tensor, species: int) -> Tensor:
        """Return the (m, 16, n, species, k) derivatives with respect to dE/dA_0 from those with respect to forces and virial."""
        result = torch.empty(len(forces), N_LM, len(self.atoms), species, len(self._value))
        transposed_forces(*self._edges(), forces.numpy(), virial.numpy(), result.numpy())
        return result

    def _edges(self) -> tuple[np.ndarray, ...]:
        a = self._arrays
        return (
            self.atoms, self._first, self._other, a.kind, a.structure, self._vectors, self._distance, self._value, self._slope,
            kernels.NORMS,
        )  # fmt: skip
