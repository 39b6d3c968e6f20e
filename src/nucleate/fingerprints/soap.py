"""Smooth overlap of atomic positions (SOAP): power spectra of atoms, and their average over a structure.

A. P. Bartók, R. Kondor and G. Csányi, Phys. Rev. B 87, 184115 (2013), doi 10.1103/PhysRevB.87.184115. The radial basis consists of
orthonormalised Gaussians r^l exp(-alpha_nl r²) as in L. Himanen et al., Comput. Phys. Commun. 247, 106949 (2020),
doi 10.1016/j.cpc.2019.106949, for which the expansion of a Gaussian density is analytic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from scipy.special import gamma
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import neighbour_edges
from nucleate.fingerprints.base import Environments, Fingerprint, VectorFingerprint, smooth_cutoff, structure_chunks, unit_vectors
from nucleate.fingerprints.transport import transport_distances
from nucleate.potentials.harmonics import solid_harmonics

THRESHOLD = 1e-3
"""Value of r^l exp(-alpha_nl r²) at the n-th of n_max distances between 1 Å and the cutoff, which defines alpha_nl."""


@lru_cache(maxsize=8)
def radial_basis(cutoff: float, n_max: int, l_max: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the exponents alpha (l_max + 1, n_max) in 1/Å² and the (l_max + 1, n_max, n_max) matrices that orthonormalise the basis."""
    reach = np.linspace(1.0, cutoff, n_max)
    degree = np.arange(l_max + 1)[:, None]
    alpha = -np.log(THRESHOLD / reach**degree) / reach**2
    total = alpha[:, :, None] + alpha[:, None, :]
    # Overlap: integral of r^(2l + 2) exp(-total r²) from 0 to infinity.
    power = degree[:, :, None] + 1.5
    overlap = 0.5 * gamma(power) * total**-power
    values, vectors = np.linalg.eigh(overlap)
    return alpha, np.einsum("lik,lk,ljk->lij", vectors, values**-0.5, vectors)


def soap_spectra(
    batch: CrystalBatch, kinds: Tensor, n_species: int, cutoff: float, n_max: int, l_max: int, sigma: float, smooth: bool = True
) -> Tensor:
    """Return the power spectra of the atoms of a batch, not normalised.

    Args:
        batch: structures.
        kinds: (n_atoms,) index of the species.
        n_species: number of species.
        cutoff: cutoff radius, Å.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        sigma: standard deviation of the Gaussians of the density, Å.
        smooth: whether the density of a neighbour vanishes smoothly at the cutoff. Otherwise, as in DScribe, all atoms count whose
            density reaches into the sphere.

    Returns:
        (n_atoms, (l_max + 1) k (k + 1) / 2) with k = n_species * n_max, each pair of radial functions and species once.
    """
    edges = neighbour_edges(batch, cutoff if smooth else cutoff + sigma * math.sqrt(-2 * math.log(THRESHOLD)))
    vectors = edges.vectors(batch)
    n = len(batch.numbers)
    # Every atom is a neighbour of itself at the distance zero.
    vectors = torch.cat([vectors, vectors.new_zeros(n, 3)])
    centre, neighbour = (torch.cat([ends, torch.arange(n)]) for ends in (edges.centre, edges.neighbour))
    square = (vectors**2).sum(1)
    weight = smooth_cutoff(square.sqrt(), cutoff) if smooth else torch.ones_like(square)
    alpha, orthonormal = (torch.as_tensor(x, dtype=vectors.dtype) for x in radial_basis(cutoff, n_max, l_max))
    harmonic = solid_harmonics(vectors[:, 0], vectors[:, 1], vectors[:, 2], l_max, dim=1)
    width = 1 / (2 * sigma**2)
    row = centre * n_species + kinds[neighbour]
    k = n_species * n_max
    first, second = torch.triu_indices(k, k)
    spectra = []
    for degree in range(l_max + 1):
        exponent = alpha[degree]
        total = exponent + width
        decay = torch.exp(-(width * exponent / total) * square.unsqueeze(1)) * (math.pi**1.5 * width**degree * total ** -(degree + 1.5))
        radial = (decay @ orthonormal[degree]) * weight.unsqueeze(1)
        own = harmonic[:, degree**2 : (degree + 1) ** 2]
        terms = (radial.unsqueeze(2) * own.unsqueeze(1)).flatten(1)
        c = terms.new_zeros(n * n_species, terms.shape[1]).index_add_(0, row, terms).view(n, k, 2 * degree + 1)
        spectra.append((c @ c.transpose(1, 2))[:, first, second] * (math.pi * math.sqrt(8 / (2 * degree + 1))))
    return torch.cat(spectra, 1)


class _Soap:
    """Parameters and environments that the two fingerprints share."""

    def __init__(self, cutoff: float, n_max: int, l_max: int, sigma: float):
        self.cutoff, self.n_max, self.l_max, self.sigma = cutoff, n_max, l_max, sigma

    def spectra(self, batch: CrystalBatch, kinds: Tensor, n_species: int) -> Tensor:
        return soap_spectra(batch, kinds, n_species, self.cutoff, self.n_max, self.l_max, self.sigma)


class AverageSoap(VectorFingerprint):
    """Mean of the power spectra over the atoms, as a unit vector.

    Args:
        species: see `Fingerprint`.
        cutoff: cutoff radius, Å.
        n_max: number of radial functions.
        l_max: largest degree of the spherical harmonics.
        sigma: standard deviation of the Gaussians, Å.
    """

    name: ClassVar[str] = "SOAP average"

    def __init__(self, species: Sequence[int], cutoff: float = 6.0, n_max: int = 8, l_max: int = 6, sigma: float = 0.3):
        super().__init__(species)
        self.soap = _Soap(cutoff, n_max, l_max, sigma)

    def describe(self, batch: CrystalBatch) -> Tensor:
        """Return (n, d) unit vectors."""
        parts = []
        for chosen in structure_chunks(batch, self.soap.cutoff, 2e4):
            part = batch.select(chosen)
            spectra = self.soap.spectra(part, self.kinds(part), len(self.species))
            mean = spectra.new_zeros(len(part), spectra.shape[1]).index_add_(0, part.structure, spectra)
            parts.append(unit_vectors(mean / part.counts.unsqueeze(1)))
        return torch.cat(parts)


class SoapEnvironments(Fingerprint[Environments]):
    """Power spectra of the atoms as unit vectors, compared by the earth mover's distance; arguments as for `AverageSoap`."""

    name: ClassVar[str] = "SOAP transport"

    def __init__(self, species: Sequence[int], cutoff: float = 6.0, n_max: int = 8, l_max: int = 6, sigma: float = 0.3):
        super().__init__(species)
        self.soap = _Soap(cutoff, n_max, l_max, sigma)

    def describe(self, batch: CrystalBatch) -> Environments:
        """Return a unit vector for each atom."""
        parts = []
        for chosen in structure_chunks(batch, self.soap.cutoff, 2e4):
            part = batch.select(chosen)
            parts.append(unit_vectors(self.soap.spectra(part, self.kinds(part), len(self.species))))
        return Environments(torch.cat(parts), batch.numbers, tuple(batch.counts.tolist()))

    def distances(self, one: Environments, other: Environments) -> np.ndarray:
        """Return earth mover's distances."""
        return transport_distances(one, other)
