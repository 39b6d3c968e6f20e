"""Interface of fingerprints: one vector for each structure, or one for each atom, with a distance.

`properties` states what a fingerprint guarantees by construction; `tests/fingerprints` checks each of these statements.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from ase.data import chemical_symbols
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.errors import BadInput


@dataclass(frozen=True)
class Properties:
    """What a fingerprint does not depend on by construction.

    Attributes:
        cell: choice of the lattice vectors of the same lattice.
        supercell: number of primitive cells in the cell.
        permutation: order of the atoms.
        rotation: orientation, mirror images included.
        continuous: whether it is a continuous function of positions and cell.
    """

    cell: bool = True
    supercell: bool = True
    permutation: bool = True
    rotation: bool = True
    continuous: bool = True


@dataclass(frozen=True)
class Environments:
    """Fingerprints of the atoms of several structures.

    Attributes:
        rows: (n_atoms, d) one vector for each atom.
        numbers: (n_atoms,) atomic numbers.
        counts: number of atoms of each structure.
    """

    rows: Tensor
    numbers: Tensor
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def split(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the rows and atomic numbers of each structure."""
        rows, numbers = self.rows.double().numpy(), self.numbers.numpy()
        ends = np.cumsum(self.counts)[:-1]
        return list(zip(np.split(rows, ends), np.split(numbers, ends), strict=True))


Description = TypeVar("Description", Tensor, Environments)


class Fingerprint(ABC, Generic[Description]):
    """A fingerprint of structures of given elements.

    Args:
        species: all atomic numbers that occur in the structures to be compared.

    Attributes:
        name: short name, as in tables.
        properties: see `Properties`.
    """

    name: ClassVar[str]
    properties: ClassVar[Properties] = Properties()

    def __init__(self, species: Sequence[int]):
        self.species = tuple(sorted(set(species)))

    @abstractmethod
    def describe(self, batch: CrystalBatch) -> Description:
        """Return the fingerprints of the structures of a batch, in its floating-point type.

        Returns:
            (n_structures, d) vectors, or `Environments` with a vector for each atom.

        Raises:
            BadInput: the batch contains an element that is not among the species.
        """

    @abstractmethod
    def distances(self, one: Description, other: Description) -> np.ndarray:
        """Return the (n_one, n_other) distances between described structures; infinity where the compositions cannot be compared."""

    def kinds(self, batch: CrystalBatch) -> Tensor:
        """Return the (n_atoms,) index of each atom's element among the species.

        Raises:
            BadInput: an element is not among the species.
        """
        index = torch.full((120,), -1, dtype=torch.int64)
        index[list(self.species)] = torch.arange(len(self.species))
        found = index[batch.numbers]
        if bool((found < 0).any()):
            foreign = ", ".join(chemical_symbols[z] for z in sorted({int(z) for z in batch.numbers[found < 0]}))
            raise BadInput(f"the fingerprint '{self.name}' was made for other elements; it cannot describe {foreign}")
        return found


class VectorFingerprint(Fingerprint[Tensor]):
    """A fingerprint with one vector for each structure, compared by Euclidean distance."""

    def distances(self, one: Tensor, other: Tensor) -> np.ndarray:
        """Return the (n_one, n_other) Euclidean distances of (n, d) vectors."""
        # The direct difference is exact for equal vectors, in contrast to the expansion of the square.
        result: np.ndarray = torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist").numpy()
        return result


def pooled(rows: Tensor, kinds: Tensor, structure: Tensor, counts: Tensor, n_species: int) -> Tensor:
    """Return mean and standard deviation of the vectors of the atoms of each species, weighted by the root of its share.

    Args:
        rows: (n_atoms, d).
        kinds: (n_atoms,) index of the species.
        structure: (n_atoms,) index of the structure.
        counts: (n_structures,) number of atoms.
        n_species: number of species.

    Returns:
        (n_structures, 2 * n_species * d).
    """
    parts = []
    for kind in range(n_species):
        mine = (kinds == kind).nonzero().flatten()
        owner = structure[mine]
        number = torch.bincount(owner, minlength=len(counts)).clamp_min(1).unsqueeze(1)
        mean = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, owner, rows[mine]) / number
        spread = rows.new_zeros(len(counts), rows.shape[1]).index_add_(0, owner, (rows[mine] - mean[owner]) ** 2)
        share = (number / counts.unsqueeze(1)).sqrt().to(rows.dtype)
        parts += [mean * share, (spread / number).sqrt() * share]
    return torch.cat(parts, dim=1)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Return (n, d) vectors scaled to unit length; vectors of zeros are kept."""
    result: Tensor = vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return result


def smooth_cutoff(distance: Tensor, cutoff: float) -> Tensor:
    """Return (1 - (r/rc)²)³ within the cutoff, which has two continuous derivatives, and 0 beyond it."""
    result: Tensor = (1 - (distance / cutoff) ** 2).clamp_min(0) ** 3
    return result


def structure_chunks(batch: CrystalBatch, cutoff: float, most_edges: float) -> list[Tensor]:
    """Return the indices of structures in chunks of about `most_edges` pairs, estimated from the densities; (k,) int64 each."""
    counts = batch.counts.double()
    edges = counts * (1 + counts / batch.volumes.double() * 4 / 3 * math.pi * cutoff**3)
    number = (torch.cumsum(edges, 0) / most_edges).long()
    chunks: Sequence[Tensor] = torch.split(torch.arange(len(batch)), torch.unique_consecutive(number, return_counts=True)[1].tolist())
    return list(chunks)
