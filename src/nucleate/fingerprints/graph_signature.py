"""Graph signature: numbers of atoms whose trees of bonds up to a given height are equal.

J.-L. Faulon, D. P. Visco and R. S. Pophale, J. Chem. Inf. Comput. Sci. 43, 707 (2003), doi 10.1021/ci020345w. The signature of an atom is
the tree of its neighbours, their neighbours except the atom itself, and so on. Trees are compared by hashes of 64 bits, which are computed
for all bonds at the same time. Two atoms are bonded if they are closer than `BOND` sums of their covalent radii, so the signature jumps
when a bond forms or breaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import Properties, VectorFingerprint

BOND = 1.25
"""Longest bond in sums of covalent radii."""


class GraphSignature(VectorFingerprint):
    """Shares of the atoms with each tree, hashed into a vector.

    Args:
        species: see `Fingerprint`.
        height: height of the trees.
        width: length of the vector.
    """

    name: ClassVar[str] = "graph signature"
    properties: ClassVar[Properties] = Properties(continuous=False)

    def __init__(self, species: Sequence[int], height: int = 3, width: int = 1024):
        super().__init__(species)
        self.height, self.width = height, width

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, width) shares of the atoms."""
        self.kinds(batch)
        radii = torch.as_tensor(covalent_radii, dtype=batch.positions.dtype)[batch.numbers]
        edges = neighbour_edges(batch, 2 * BOND * float(radii.max()))
        bonded = edges.vectors(batch).norm(dim=1) < BOND * (radii[edges.centre] + radii[edges.neighbour])
        centre, neighbour = edges.centre[bonded].numpy(), edges.neighbour[bonded].numpy()
        shift = edges.shift[bonded].round().long().numpy()
        reverse = _reverse(centre, neighbour, shift)
        z = batch.numbers.numpy().astype(np.uint64)
        # tree[e] is the hash of the branch that starts at the neighbour of bond e and does not return to its centre.
        tree = _mixed(z[neighbour])
        atom = _mixed(z)
        for height in range(self.height):
            atom = _mixed(z + _sums(tree, centre, len(z)))
            if height < self.height - 1:
                tree = _mixed(z[neighbour] + _sums(tree, centre, len(z))[neighbour] - tree[reverse])
        row = batch.structure.numpy() * self.width + (atom % np.uint64(self.width)).astype(np.int64)
        shares = np.bincount(row, weights=1 / batch.counts.numpy()[batch.structure.numpy()], minlength=len(batch) * self.width)
        return torch.as_tensor(shares.reshape(len(batch), self.width), dtype=batch.positions.dtype)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return well-mixed 64-bit hashes: the finaliser of G. L. Steele et al., OOPSLA 2014, doi 10.1145/2660193.2660195."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: np.ndarray = x ^ (x >> np.uint64(31))
    return result


def _sums(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Return the sums of 64-bit values by owner modulo 2^64, which do not depend on the order."""
    result = np.zeros(count, dtype=np.uint64)
    np.add.at(result, owner, values)
    return result


def _reverse(centre: np.ndarray, neighbour: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the index of the opposite bond of each directed bond."""
    forward = np.lexsort((*shift.T, neighbour, centre))
    backward = np.lexsort((*(-shift.T), centre, neighbour))
    result = np.empty(len(centre), dtype=np.int64)
    result[backward] = forward
    return result
