"""Minibatches of labelled structures, with cached neighbour lists and masks for missing labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.training.labelled import LabelledStructure


@dataclass(frozen=True)
class Minibatch:
    """Batch of structures with their labels.

    Attributes:
        batch, edges: structures and neighbour list.
        energy: (n,) energies, eV.
        forces: (n_atoms, 3) forces, eV/Å; zero for structures without forces.
        stress: (n, 3, 3) stresses, eV/Å³; zero for structures without stress.
        has_forces, has_stress: (n,) masks of the structures with forces and with stress.
        weight: (m, n) weight of each structure for each member.
    """

    batch: CrystalBatch
    edges: Edges
    energy: Tensor
    forces: Tensor
    stress: Tensor
    has_forces: Tensor
    has_stress: Tensor
    weight: Tensor


class LabelledSet:
    """Labelled structures prepared for minibatches.

    Args:
        data: the structures.
        cutoff: cutoff radius of the model, Å.
        weight: (m, n) weight of each structure for each member.
        device: device of the tensors.
    """

    def __init__(self, data: Sequence[LabelledStructure], cutoff: float, weight: Tensor, device: torch.device | str):
        self.data = list(data)
        self.device, self.cutoff = device, cutoff
        self.weight = weight.to(device)
        self._edges: list[Edges] = []
        for first in range(0, len(self.data), 64):
            part = [item.atoms for item in self.data[first : first + 64]]
            self._edges += _apart(CrystalBatch.from_atoms(part), cutoff)

    def __len__(self) -> int:
        return len(self.data)

    def take(self, chosen: Sequence[int]) -> Minibatch:
        """Return a minibatch of the structures with these indices."""
        items = [self.data[k] for k in chosen]
        batch = CrystalBatch.from_atoms([item.atoms for item in items], device=self.device)
        starts = np.cumsum([0] + [len(item.atoms) for item in items[:-1]])
        edges = [self._edges[k] for k in chosen]
        joined = Edges(
            torch.cat([e.centre + int(s) for e, s in zip(edges, starts, strict=True)]).to(self.device),
            torch.cat([e.neighbour + int(s) for e, s in zip(edges, starts, strict=True)]).to(self.device),
            torch.cat([e.shift for e in edges]).to(self.device),
            self.cutoff,
        )
        forces = [np.zeros((len(i.atoms), 3)) if i.forces is None else i.forces for i in items]
        stress = [np.zeros(6) if i.stress is None else i.stress for i in items]

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values, dtype=float), device=self.device)

        return Minibatch(
            batch,
            joined,
            tensor([i.energy for i in items]),
            tensor(np.concatenate(forces)),
            full_from_voigt(tensor(np.stack(stress))),
            tensor([i.forces is not None for i in items]),
            tensor([i.stress is not None for i in items]),
            self.weight[:, list(chosen)],
        )


def _apart(batch: CrystalBatch, cutoff: float) -> list[Edges]:
    """Return the edges of each structure separately, with atoms counted from zero."""
    edges = neighbour_edges(batch, cutoff)
    owner = batch.structure[edges.centre]
    counts = torch.bincount(owner, minlength=len(batch)).tolist()
    starts = (torch.cumsum(batch.counts, 0) - batch.counts).tolist()
    parts = zip(edges.centre.split(counts), edges.neighbour.split(counts), edges.shift.split(counts), starts, strict=True)
    return [Edges(centre - start, neighbour - start, shift) for centre, neighbour, shift, start in parts]
