"""Overlap-matrix fingerprint: eigenvalues of the overlap of Gaussian orbitals on the atoms around each atom.

A. Sadeghi et al., J. Chem. Phys. 139, 184118 (2013), doi 10.1063/1.4828704; for crystals L. Zhu et al., J. Chem. Phys. 144, 034203 (2016),
doi 10.1063/1.4940026. The matrix contains the distances between all neighbours, and therefore more than three-body information.
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
from nucleate.fingerprints.base import Environments, Fingerprint, smooth_cutoff
from nucleate.fingerprints.transport import transport_distances

CHUNK = 2e7
"""Number of matrix elements that are diagonalised at a time."""


class OverlapMatrix(Fingerprint[Environments]):
    """Eigenvalues of the overlap matrices of s and p orbitals, compared by the earth mover's distance.

    Args:
        species: see `Fingerprint`.
        cutoff: radius of the sphere of atoms, Å.
        p_orbitals: whether each atom has three p orbitals beside its s orbital.
        kept: number of largest eigenvalues that are kept; the rest are small.
    """

    name: ClassVar[str] = "overlap matrix"

    def __init__(self, species: Sequence[int], cutoff: float = 5.0, p_orbitals: bool = True, kept: int = 128):
        super().__init__(species)
        self.cutoff, self.p_orbitals, self.kept = cutoff, p_orbitals, kept

    def describe(self, batch: CrystalBatch) -> Environments:
        """Return (n_atoms, kept) eigenvalues in descending order."""
        self.kinds(batch)
        edges = neighbour_edges(batch, self.cutoff)
        n = len(batch.numbers)
        vectors = torch.cat([batch.positions.new_zeros(n, 3), edges.vectors(batch)])
        centre = torch.cat([torch.arange(n), edges.centre])
        member = torch.cat([torch.arange(n), edges.neighbour])
        order = torch.argsort(centre, stable=True)
        vectors, centre, member = vectors[order], centre[order], member[order]
        size = torch.bincount(centre, minlength=n)
        starts = torch.cumsum(size, 0) - size
        rows = vectors.new_zeros(n, self.kept)
        by_size = torch.argsort(size, stable=True)
        first = 0
        while first < n:
            # Atoms with spheres of similar size are diagonalised together, filled up with orbitals of weight zero.
            each = (int(size[by_size[min(first + 50, n - 1)]]) * (4 if self.p_orbitals else 1)) ** 2
            atoms = by_size[first : first + max(1, min(51, int(CHUNK // each)))]
            slots = starts[atoms].unsqueeze(1) + torch.arange(int(size[atoms].max()))
            there = torch.arange(slots.shape[1]) < size[atoms].unsqueeze(1)
            slots = slots.clamp_max(len(centre) - 1)
            matrix = self._matrices(vectors[slots], batch.numbers[member[slots]], there)
            values = torch.linalg.eigvalsh(matrix).flip(1)[:, : self.kept]
            rows[atoms, : values.shape[1]] = values
            first += len(atoms)
        return Environments(rows, batch.numbers, tuple(batch.counts.tolist()))

    def _matrices(self, points: Tensor, numbers: Tensor, there: Tensor) -> Tensor:
        """Return the (n, k, k) or (n, 4 k, 4 k) overlap matrices times the amplitudes of both orbitals.

        Args:
            points: (n, k, 3) positions relative to the central atom, Å.
            numbers: (n, k) atomic numbers.
            there: (n, k) mask of the atoms of the sphere.
        """
        radius = torch.as_tensor(covalent_radii, dtype=points.dtype)[numbers]
        exponent = 0.5 / radius**2
        a, b = exponent.unsqueeze(2), exponent.unsqueeze(1)
        total = a + b
        apart = points.unsqueeze(2) - points.unsqueeze(1)
        ss = (2 * torch.sqrt(a * b) / total) ** 1.5 * torch.exp(-a * b / total * (apart**2).sum(3))
        amplitude = smooth_cutoff(points.norm(dim=2), self.cutoff) * there
        if not self.p_orbitals:
            return ss * amplitude.unsqueeze(2) * amplitude.unsqueeze(1)
        n, k = ss.shape[:2]
        # p orbitals are normalised derivatives of s orbitals with respect to their centre: p_i = (d/dR_i s) / sqrt(a).
        matrix = ss.new_empty(n, k, 4, k, 4)
        matrix[:, :, 0, :, 0] = ss
        slope = (2 * a * b / total).unsqueeze(3) * apart * ss.unsqueeze(3)
        matrix[:, :, 1:, :, 0] = (-slope / torch.sqrt(a).unsqueeze(3)).transpose(2, 3)
        matrix[:, :, 0, :, 1:] = slope / torch.sqrt(b).unsqueeze(3)
        reduced = (2 * a * b / total)[..., None, None]
        delta = torch.eye(3, dtype=ss.dtype)
        second = reduced * ss[..., None, None] * (delta - reduced * apart.unsqueeze(4) * apart.unsqueeze(3))
        matrix[:, :, 1:, :, 1:] = (second / torch.sqrt(a * b)[..., None, None]).permute(0, 1, 3, 2, 4)
        weight = amplitude.repeat_interleave(4, dim=1)
        return matrix.view(n, 4 * k, 4 * k) * weight.unsqueeze(2) * weight.unsqueeze(1)

    def distances(self, one: Environments, other: Environments) -> np.ndarray:
        """Return earth mover's distances."""
        return transport_distances(one, other)
