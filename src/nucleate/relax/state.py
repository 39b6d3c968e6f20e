"""State of an optimiser for a batch of structures, and evaluation of an energy surface in its coordinates.

The coordinates of a structure with n atoms are the n atom positions x in the frame of its starting cell, and n * L, where L is the
symmetric logarithm of the deformation of its cell. The factor n balances the cell against the atoms, as in ASE's FrechetCellFilter
(github.com/libAtoms/testing-framework and ASE documentation). The actual cell is `cells0 @ expm(L)`, the positions are `x @ expm(L)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch, ragged_arange
from nucleate.crystals.strain import deformation, frechet_adjoint


@dataclass(frozen=True)
class Evaluation:
    """Energy, forces, stress and uncertainty of a batch, averaged over the committee.

    Attributes:
        energy: (n,) energies, eV.
        forces: (n_atoms, 3) forces, eV/Å.
        stress: (n, 3, 3) stresses, eV/Å³.
        sigma: (n,) uncertainties of the energy, eV/atom.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    sigma: Tensor


Surface = Callable[[CrystalBatch], Evaluation]


@dataclass(frozen=True)
class State:
    """State of a batch of relaxations.

    The rows of coordinates are the atoms of all structures, followed by three rows for the cell of each structure.

    Attributes:
        batch: the current structures, float64.
        cells0: (n, 3, 3) starting cells, Å.
        coordinates: (n_atoms + 3 n, 3) coordinates.
        gradient_force: (n_atoms + 3 n, 3) negative gradient of the enthalpy with respect to the coordinates.
        owner: (n_atoms + 3 n,) structure of each row.
        enthalpy: (n,) enthalpies E + pV, eV.
        forces: (n_atoms, 3) forces, eV/Å.
        stress: (n, 3, 3) stresses of the energy surface without the external pressure, eV/Å³.
        sigma: (n,) uncertainties of the energy, eV/atom.
        steps: (n,) number of steps taken.
        memory: tensors of the optimiser, per structure or (names that begin with `row_`) per row.
    """

    batch: CrystalBatch
    cells0: Tensor
    coordinates: Tensor
    gradient_force: Tensor
    owner: Tensor
    enthalpy: Tensor
    forces: Tensor
    stress: Tensor
    sigma: Tensor
    steps: Tensor
    memory: dict[str, Tensor]

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the (n,) inner products of two row tensors, per structure."""
        return self.enthalpy.new_zeros(len(self.batch)).index_add_(0, self.owner, (a * b).sum(-1))

    def largest_row(self, a: Tensor) -> Tensor:
        """Return the (n,) norm of the longest row of each structure."""
        return self.enthalpy.new_zeros(len(self.batch)).scatter_reduce_(0, self.owner, a.norm(dim=1), "amax")

    def largest_force(self) -> Tensor:
        """Return the (n,) largest force on an atom, eV/Å."""
        zero = self.enthalpy.new_zeros(len(self.batch))
        return zero.scatter_reduce_(0, self.batch.structure, self.forces.norm(dim=1), "amax")

    def select(self, chosen: Tensor) -> State:
        """Return the state of the structures `chosen` (int64 indices)."""
        counts = self.batch.counts
        starts = torch.cumsum(counts, 0) - counts
        atoms = ragged_arange(starts[chosen], counts[chosen])
        cell_rows = len(self.batch.numbers) + (3 * chosen.unsqueeze(1) + torch.arange(3)).flatten()
        rows = torch.cat([atoms, cell_rows])
        batch = self.batch.select(chosen)
        return replace(
            self,
            batch=batch,
            cells0=self.cells0[chosen],
            coordinates=self.coordinates[rows],
            gradient_force=self.gradient_force[rows],
            owner=row_owner(batch),
            enthalpy=self.enthalpy[chosen],
            forces=self.forces[atoms],
            stress=self.stress[chosen],
            sigma=self.sigma[chosen],
            steps=self.steps[chosen],
            memory={name: value[..., rows, :] if name.startswith("row_") else value[..., chosen] for name, value in self.memory.items()},
        )

    @staticmethod
    def concatenate(first: State, second: State) -> State:
        """Return the structures of `first` followed by those of `second`; both must belong to the same optimiser."""
        batch = CrystalBatch.concatenate([first.batch, second.batch])
        n1, n2 = len(first.batch.numbers), len(second.batch.numbers)

        def rows(a: Tensor, b: Tensor) -> Tensor:
            parts = [a[..., :n1, :], b[..., :n2, :], a[..., n1:, :], b[..., n2:, :]]
            return torch.cat(parts, dim=-2)

        plain = {
            field.name: torch.cat([getattr(first, field.name), getattr(second, field.name)])
            for field in fields(State)
            if field.name in ("cells0", "enthalpy", "forces", "stress", "sigma", "steps")
        }
        return State(
            batch=batch,
            coordinates=rows(first.coordinates, second.coordinates),
            gradient_force=rows(first.gradient_force, second.gradient_force),
            owner=row_owner(batch),
            memory={
                name: rows(value, second.memory[name]) if name.startswith("row_") else torch.cat([value, second.memory[name]], dim=-1)
                for name, value in first.memory.items()
            },
            **plain,
        )


def row_owner(batch: CrystalBatch) -> Tensor:
    """Return the (n_atoms + 3 n,) structure of each row of coordinates."""
    cells = torch.arange(len(batch), device=batch.structure.device).repeat_interleave(3)
    return torch.cat([batch.structure, cells])


def start(batch: CrystalBatch, surface: Surface, pressure: float, variable_cell: bool) -> State:
    """Return the evaluated initial state of a batch; `pressure` is in eV/Å³."""
    n = len(batch)
    zero = batch.cells.new_zeros(3 * n, 3)
    state = State(
        batch=batch,
        cells0=batch.cells,
        coordinates=torch.cat([batch.positions, zero]),
        gradient_force=torch.cat([torch.zeros_like(batch.positions), zero]),
        owner=row_owner(batch),
        enthalpy=batch.cells.new_zeros(n),
        forces=torch.zeros_like(batch.positions),
        stress=torch.zeros_like(batch.cells),
        sigma=batch.cells.new_zeros(n),
        steps=torch.zeros(n, dtype=torch.int64, device=batch.structure.device),
        memory={},
    )
    return evaluate(state, surface, pressure, variable_cell)


def free_strain(batch: CrystalBatch) -> Tensor:
    """Return (n, 3, 3) ones, with zeros for the components of strain that are fixed: all that contain z in layers, all in clusters."""
    free = torch.ones_like(batch.cells)
    layers = batch.periodic == 2
    free[layers, 2, :] = 0.0
    free[layers, :, 2] = 0.0
    free[batch.periodic == 0] = 0.0
    return free


def evaluate(state: State, surface: Surface, pressure: float, variable_cell: bool) -> State:
    """Evaluate the energy surface at the coordinates of a state; return the state with forces in these coordinates.

    Args:
        state: state with new coordinates.
        surface: the energy surface.
        pressure: external pressure, eV/Å³.
        variable_cell: whether the cells are relaxed; otherwise the gradient with respect to them is zero.
    """
    n, n_atoms = len(state.batch), len(state.batch.numbers)
    counts = state.batch.counts.to(state.coordinates.dtype).view(-1, 1, 1)
    log_strain = state.coordinates[n_atoms:].view(n, 3, 3) / counts
    gradient = deformation(log_strain)
    per_atom = gradient.index_select(0, state.batch.structure)
    positions = (state.coordinates[:n_atoms].unsqueeze(1) @ per_atom).squeeze(1)
    batch = replace(state.batch, positions=positions, cells=state.cells0 @ gradient)
    evaluation = surface(batch)
    volumes = batch.volumes
    forces = evaluation.forces.to(positions.dtype)
    stress = evaluation.stress.to(positions.dtype)
    atom_rows = (forces.unsqueeze(1) @ per_atom.transpose(1, 2)).squeeze(1)
    if variable_cell:
        identity = torch.eye(3, dtype=positions.dtype, device=positions.device)
        work = volumes.view(-1, 1, 1) * (stress + pressure * identity)
        outer = torch.linalg.solve(gradient.transpose(1, 2), work)
        cell_force = -frechet_adjoint(log_strain, outer) / counts
        cell_rows = (0.5 * (cell_force + cell_force.transpose(1, 2)) * free_strain(batch)).reshape(3 * n, 3)
    else:
        cell_rows = positions.new_zeros(3 * n, 3)
    return replace(
        state,
        batch=batch,
        gradient_force=torch.cat([atom_rows, cell_rows]),
        enthalpy=evaluation.energy.to(positions.dtype) + pressure * volumes,
        forces=forces,
        stress=stress,
        sigma=evaluation.sigma.to(positions.dtype),
    )
