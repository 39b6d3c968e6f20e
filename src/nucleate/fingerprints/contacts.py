"""Contact function of two atoms, which the fingerprints SPRINT and PIV share."""

from __future__ import annotations

import torch
from ase.data import covalent_radii
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.fingerprints.base import smooth_cutoff


def contacts(batch: CrystalBatch, cutoff: float, stretch: float) -> tuple[Edges, Tensor]:
    """Return all pairs within a cutoff and their contacts.

    The contact is (1 - x^6) / (1 - x^12) = 1 / (1 + x^6) with x = r / r0, times a smooth cutoff; r0 is `stretch` times the sum of the
    covalent radii of B. Cordero et al., Dalton Trans. 2832 (2008), doi 10.1039/b801115j.

    Args:
        batch: structures.
        cutoff: cutoff radius, Å.
        stretch: distance at which the contact is one half, in sums of covalent radii.
    """
    edges = neighbour_edges(batch, cutoff)
    distance = edges.vectors(batch).norm(dim=1)
    radii = torch.as_tensor(covalent_radii, dtype=distance.dtype)
    half = stretch * (radii[batch.numbers[edges.centre]] + radii[batch.numbers[edges.neighbour]])
    return edges, smooth_cutoff(distance, cutoff) / (1 + (distance / half) ** 6)
