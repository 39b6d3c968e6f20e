"""Relaxations that keep the space group of each structure.

Forces and stresses are averaged over the operations of the starting structure. A potential without noise has this symmetry by itself;
references with grids and k-points have it only approximately, and small deviations grow in soft directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import spglib
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.matching import EXACT, idealised, periodic
from nucleate.generate.evolution.sites import Sites
from nucleate.generate.evolution.symmetry import images_of
from nucleate.relax.state import Evaluation, Surface


@dataclass(frozen=True)
class Operations:
    """Symmetry operations of one structure.

    Attributes:
        rotations: (g, 3, 3) orthogonal matrices R in Cartesian coordinates, r' = R r.
        images: (g, n) atom onto which each atom is mapped.
    """

    rotations: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class _Tables:
    """Operations of a batch in one list: the atoms that are moved, and the cells that are turned.

    Attributes:
        ids: structures of the batch.
        sources, images: (k,) atoms of the batch, and those onto which they are mapped.
        turns: (k, 3, 3) rotation of each of these moves.
        cells: (m,) structure of each operation.
        rotations: (m, 3, 3) rotation of each operation.
        orders: (n,) number of operations of each structure.
    """

    ids: Tensor
    sources: Tensor
    images: Tensor
    turns: Tensor
    cells: Tensor
    rotations: Tensor
    orders: Tensor


def operations_of(atoms: Atoms, symprec: float = EXACT) -> Operations:
    """Return the symmetry operations of a structure within `symprec` (Å); only the identity if spglib fails."""
    n, cell = len(atoms), periodic(atoms).cell.array
    sites = Sites(atoms.get_scaled_positions(), cell, atoms.numbers)
    try:
        found = spglib.get_symmetry((cell.tolist(), sites.scaled.tolist(), atoms.numbers.tolist()), symprec=symprec)
    except Exception:  # spglib 2.7 and later raise an exception where older versions return None
        found = None
    if found is None:
        return Operations(np.eye(3)[None], np.arange(n)[None])
    images = images_of(sites, found["rotations"], found["translations"])
    # Fractional coordinates are columns x, Cartesian ones are cell^T x; rounding errors of the cell are removed from the rotations.
    left, _, right = np.linalg.svd(cell.T @ found["rotations"] @ np.linalg.inv(cell.T))
    whole = (np.sort(images, axis=1) == np.arange(n)).all(1)
    return Operations((left @ right)[whole], images[whole])


class KeptSymmetry:
    """Structures with exact symmetry, and surfaces that are averaged over their operations.

    Args:
        structures: starting points; their symmetry within 0.1 Å is made exact.

    Attributes:
        structures: the starting points of the relaxations.
    """

    def __init__(self, structures: Sequence[Atoms]):
        self.structures = [idealised(atoms) for atoms in structures]
        self._operations = [operations_of(atoms) for atoms in self.structures]
        self._tables: _Tables | None = None

    def averaged(self, surface: Surface) -> Surface:
        """Return a surface whose forces and stresses have the symmetry of the structures, which `CrystalBatch.ids` name."""

        def symmetric(batch: CrystalBatch) -> Evaluation:
            evaluation, tables = surface(batch), self._of(batch)
            forces, stress = evaluation.forces.to(tables.turns.dtype), evaluation.stress.to(tables.turns.dtype)
            moved = (tables.turns @ forces[tables.sources].unsqueeze(2)).squeeze(2)
            turned = tables.rotations @ stress[tables.cells] @ tables.rotations.transpose(1, 2)
            return replace(
                evaluation,
                forces=torch.zeros_like(forces).index_add_(0, tables.images, moved) / tables.orders[batch.structure].unsqueeze(1),
                stress=torch.zeros_like(stress).index_add_(0, tables.cells, turned) / tables.orders.view(-1, 1, 1),
            )

        return symmetric

    def _of(self, batch: CrystalBatch) -> _Tables:
        """Return the operations of a batch, which are made again only when its structures change."""
        if self._tables is not None and torch.equal(self._tables.ids, batch.ids):
            return self._tables
        own = [self._operations[k] for k in batch.ids.tolist()]
        starts = (torch.cumsum(batch.counts, 0) - batch.counts).tolist()
        orders = np.array([len(each.rotations) for each in own])
        device = batch.structure.device

        def joined(parts: list[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.concatenate(parts), device=device)

        self._tables = _Tables(
            batch.ids,
            joined([first + np.tile(np.arange(each.images.shape[1]), len(each.images)) for each, first in zip(own, starts, strict=True)]),
            joined([first + each.images.flatten() for each, first in zip(own, starts, strict=True)]),
            joined([np.repeat(each.rotations, each.images.shape[1], axis=0) for each in own]),
            joined([np.full(order, k) for k, order in enumerate(orders)]),
            joined([each.rotations for each in own]),
            torch.as_tensor(orders, dtype=torch.float64, device=device),
        )
        return self._tables
