"""`CrystalBatch`: many periodic structures as one set of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.dimensions import PBC, periodic_directions
from nucleate.errors import BadInput


@dataclass(frozen=True)
class CrystalBatch:
    """Many periodic structures as one set of tensors; the atoms of a structure are contiguous.

    Attributes:
        positions: (n_atoms, 3) Cartesian, Å.
        cells: (n_structures, 3, 3), lattice vectors as rows, Å.
        numbers: (n_atoms,) atomic numbers, int64.
        structure: (n_atoms,) index of each atom's structure, ascending, int64.
        moments: (n_atoms,) starting moments, Bohr magnetons; zero where a structure has none.
        ids: (n_structures,) index of each structure in the list that the batch was created from, kept by `select`, int64.
        periodic: (n_structures,) number of periodic directions, int64: 3; 2 for a layer perpendicular to z with vacuum along its third
            lattice vector, whose cell is relaxed in its plane alone; 0 for a cluster in a box with vacuum, whose cell is kept.
    """

    positions: Tensor
    cells: Tensor
    numbers: Tensor
    structure: Tensor
    moments: Tensor = field(default=None)  # type: ignore[assignment]
    ids: Tensor = field(default=None)  # type: ignore[assignment]
    periodic: Tensor = field(default=None)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.moments is None:
            object.__setattr__(self, "moments", self.positions.new_zeros(len(self.positions)))
        if self.ids is None:
            object.__setattr__(self, "ids", torch.arange(len(self.cells), device=self.cells.device))
        if self.periodic is None:
            object.__setattr__(self, "periodic", torch.full((len(self.cells),), 3, device=self.cells.device))

    @classmethod
    def from_atoms(
        cls, structures: Sequence[Atoms], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
    ) -> CrystalBatch:
        """Create a batch from `ase.Atoms`; structures with pbc (T, T, F) are layers, those without periodic directions clusters.

        Raises:
            BadInput: the starting moments of a structure are vectors.
        """
        counts = [len(atoms) for atoms in structures]
        if structures:
            positions = np.concatenate([atoms.positions for atoms in structures])
            cells = np.stack([atoms.cell.array for atoms in structures])
            numbers = np.concatenate([atoms.numbers for atoms in structures])
            moments = np.concatenate([atoms.get_initial_magnetic_moments() for atoms in structures])
        else:
            positions, cells, numbers, moments = np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0, dtype=int), np.zeros(0)
        if moments.ndim > 1:
            raise BadInput("starting moments are vectors; give one number per atom (collinear moments)")
        return cls(
            torch.as_tensor(positions, dtype=dtype, device=device),
            torch.as_tensor(cells, dtype=dtype, device=device),
            torch.as_tensor(numbers, dtype=torch.int64, device=device),
            torch.repeat_interleave(torch.arange(len(structures)), torch.tensor(counts, dtype=torch.int64)).to(device),
            torch.as_tensor(moments, dtype=dtype, device=device),
            periodic=torch.tensor([periodic_directions(atoms) for atoms in structures], dtype=torch.int64, device=device),
        )

    def to_atoms(self) -> list[Atoms]:
        """Convert to a list of `ase.Atoms` in double precision; layers have pbc (T, T, F), clusters (F, F, F)."""
        periodic = self.periodic.cpu().tolist()
        positions = self.positions.detach().cpu().double().numpy()
        cells = self.cells.detach().cpu().double().numpy()
        numbers = self.numbers.cpu().numpy()
        moments = self.moments.detach().cpu().double().numpy()
        counts = self.counts.cpu().numpy()
        structures = []
        for end, count, cell, directions in zip(np.cumsum(counts), counts, cells, periodic, strict=True):
            own = slice(end - count, end)
            structures.append(Atoms(numbers=numbers[own], positions=positions[own], cell=cell, pbc=PBC[directions]))
            if moments[own].any():
                structures[-1].set_initial_magnetic_moments(moments[own])
        return structures

    def __len__(self) -> int:
        return self.cells.shape[0]

    @property
    def counts(self) -> Tensor:
        """(n_structures,) number of atoms of each structure."""
        return torch.bincount(self.structure, minlength=len(self))

    @property
    def volumes(self) -> Tensor:
        """(n_structures,) cell volumes, Å³."""
        result: Tensor = torch.linalg.det(self.cells).abs()
        return result

    def select(self, chosen: Tensor) -> CrystalBatch:
        """Return the structures with the indices `chosen` (int64), in that order."""
        counts = self.counts
        starts = torch.cumsum(counts, 0) - counts
        picked = counts[chosen]
        atoms = ragged_arange(starts[chosen], picked)
        return CrystalBatch(
            self.positions[atoms],
            self.cells[chosen],
            self.numbers[atoms],
            torch.repeat_interleave(torch.arange(len(chosen), device=chosen.device), picked),
            self.moments[atoms],
            self.ids[chosen],
            self.periodic[chosen],
        )

    @staticmethod
    def concatenate(batches: Sequence[CrystalBatch]) -> CrystalBatch:
        """Concatenate batches; `ids` are kept, so they may repeat."""
        offsets = np.cumsum([0] + [len(batch) for batch in batches])
        return CrystalBatch(
            torch.cat([batch.positions for batch in batches]),
            torch.cat([batch.cells for batch in batches]),
            torch.cat([batch.numbers for batch in batches]),
            torch.cat([batch.structure + int(o) for batch, o in zip(batches, offsets[:-1], strict=True)]),
            torch.cat([batch.moments for batch in batches]),
            torch.cat([batch.ids for batch in batches]),
            torch.cat([batch.periodic for batch in batches]),
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> CrystalBatch:
        """Move to a device, change the floating-point type of positions and cells, or both."""
        return CrystalBatch(
            self.positions.to(device=device, dtype=dtype),
            self.cells.to(device=device, dtype=dtype),
            self.numbers.to(device=device),
            self.structure.to(device=device),
            periodic=self.periodic.to(device=device),
        )


def ragged_arange(starts: Tensor, counts: Tensor) -> Tensor:
    """Return `concatenate([arange(s, s + c) for s, c in zip(starts, counts)])` without a Python loop."""
    ends = torch.cumsum(counts, 0)
    total = int(ends[-1]) if len(ends) else 0
    steps = torch.arange(total, device=starts.device)
    return steps + torch.repeat_interleave(starts - (ends - counts), counts)
