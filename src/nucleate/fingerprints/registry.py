"""All fingerprints by name."""

from __future__ import annotations

from typing import Any

from nucleate.fingerprints.bag_of_bonds import BagOfBonds
from nucleate.fingerprints.base import Fingerprint
from nucleate.fingerprints.graph_signature import GraphSignature
from nucleate.fingerprints.nearest_distances import NearestDistances
from nucleate.fingerprints.overlap_matrix import OverlapMatrix
from nucleate.fingerprints.permutation_invariant import PermutationInvariantVector
from nucleate.fingerprints.pointwise_distances import PointwiseDistances
from nucleate.fingerprints.power_spectrum import PooledPowerSpectrum
from nucleate.fingerprints.radial_distribution import RadialDistribution
from nucleate.fingerprints.rematch import Rematch
from nucleate.fingerprints.soap import AverageSoap, SoapEnvironments
from nucleate.fingerprints.sprint import Sprint

FINGERPRINTS: dict[str, type[Fingerprint[Any]]] = {
    kind.name: kind
    for kind in (
        NearestDistances, PooledPowerSpectrum, AverageSoap, Rematch, SoapEnvironments, OverlapMatrix, PointwiseDistances,
        RadialDistribution, BagOfBonds, PermutationInvariantVector, Sprint, GraphSignature,
    )
}  # fmt: skip
"""Fingerprints that need nothing but the elements; `latent.Latent` needs a trained committee."""
