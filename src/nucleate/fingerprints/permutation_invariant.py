"""Permutation invariant vector (PIV): sorted contacts of all pairs of each two elements.

G. A. Gallet and F. Pietrucci, J. Chem. Phys. 139, 074101 (2013), doi 10.1063/1.4818005. As in `bag_of_bonds` the sorted contacts are a
function of rank / number of atoms, so that supercells have the same vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.fingerprints.bag_of_bonds import pair_profiles
from nucleate.fingerprints.base import VectorFingerprint
from nucleate.fingerprints.contacts import contacts


class PermutationInvariantVector(VectorFingerprint):
    """Sorted profiles of the contacts.

    Args:
        species: see `Fingerprint`.
        cutoff: largest distance, Å.
        stretch: distance at which the contact is one half, in sums of covalent radii.
        reach: number of contacts per atom in a profile.
        bins: number of bins of a profile.
    """

    name: ClassVar[str] = "PIV"

    def __init__(self, species: Sequence[int], cutoff: float = 6.0, stretch: float = 1.8, reach: float = 60.0, bins: int = 180):
        super().__init__(species)
        self.cutoff, self.stretch, self.reach, self.bins = cutoff, stretch, reach, bins

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, n_species * (n_species + 1) / 2 * bins) vectors."""
        edges, value = contacts(batch, self.cutoff, self.stretch)
        return pair_profiles(self, batch, edges.centre, edges.neighbour, value, self.reach, self.bins)
