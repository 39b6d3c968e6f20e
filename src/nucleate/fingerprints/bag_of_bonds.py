"""Bag of bonds: sorted Coulomb repulsions Z_i Z_j / r_ij of the pairs of each two elements.

K. Hansen et al., J. Phys. Chem. Lett. 6, 2326 (2015), doi 10.1021/acs.jpclett.5b00831. That paper treats molecules. For crystals a smooth
cutoff ends the bags, and a bag is a function of rank / number of atoms, so that it does not depend on the size of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import VectorFingerprint, smooth_cutoff
from nucleate.fingerprints.profiles import sorted_profiles


class BagOfBonds(VectorFingerprint):
    """Sorted profiles of Z_i Z_j / r_ij, one for each pair of elements.

    Args:
        species: see `Fingerprint`.
        cutoff: largest length of a bond, Å.
        reach: number of bonds per atom in a profile.
        bins: number of bins of a profile.
    """

    name: ClassVar[str] = "bag of bonds"

    def __init__(self, species: Sequence[int], cutoff: float = 5.0, reach: float = 60.0, bins: int = 180):
        super().__init__(species)
        self.cutoff, self.reach, self.bins = cutoff, reach, bins

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, n_species * (n_species + 1) / 2 * bins) vectors."""
        edges = neighbour_edges(batch, self.cutoff)
        distance = edges.vectors(batch).norm(dim=1)
        z = batch.numbers.to(distance.dtype)
        value = z[edges.centre] * z[edges.neighbour] / distance * smooth_cutoff(distance, self.cutoff)
        return pair_profiles(self, batch, edges.centre, edges.neighbour, value, self.reach, self.bins)


def pair_profiles(
    fingerprint: VectorFingerprint, batch: CrystalBatch, centre: Tensor, neighbour: Tensor, value: Tensor, reach: float, bins: int
) -> Tensor:
    """Return the sorted profiles of the values of directed pairs, one profile for each pair of species.

    Args:
        fingerprint: the fingerprint, whose species are distinguished.
        batch: structures.
        centre, neighbour: (n_pairs,) atoms.
        value: (n_pairs,) values.
        reach, bins: see `sorted_profiles`; ranks are divided by the number of atoms of the structure.

    Returns:
        (n_structures, n_species * (n_species + 1) / 2 * bins).
    """
    kinds = fingerprint.kinds(batch)
    owner = batch.structure[centre]
    low, high = torch.minimum(kinds[centre], kinds[neighbour]), torch.maximum(kinds[centre], kinds[neighbour])
    parts = []
    for one in range(len(fingerprint.species)):
        for two in range(one, len(fingerprint.species)):
            mine = (low == one) & (high == two)
            parts.append(sorted_profiles(value[mine], owner[mine], batch.counts, reach, bins))
    return torch.cat(parts, 1)
