"""Atom-centred symmetry functions: the original ones of Behler and Parrinello, and the modified ones of ANI.

    radial      G_R = sum_j exp(-eta (r_ij - R_s)^2) f_c(r_ij)                                            both
    angular     G_A = 2^(1-zeta) sum_{j<k} (1 + lambda cos theta)^zeta exp(-eta (r_ij^2 + r_ik^2 + r_jk^2))
                      f_c(r_ij) f_c(r_ik) f_c(r_jk)                                                        original
                G_A = 2^(1-zeta) sum_{j<k} (1 + cos(theta - theta_s))^zeta exp(-eta ((r_ij + r_ik)/2 - R_s)^2)
                      f_c(r_ij) f_c(r_ik)                                                                  modified

The sums are separate for each species of the neighbours: one block of radial functions per species, and one block of angular functions
per pair of species.

J. Behler and M. Parrinello, Phys. Rev. Lett. 98, 146401 (2007), doi 10.1103/PhysRevLett.98.146401.
J. S. Smith, O. Isayev and A. E. Roitberg, Chem. Sci. 8, 3192 (2017), doi 10.1039/c6sc05720a.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nucleate.crystals.batch import ragged_arange
from nucleate.potentials.networks.layers import cosine_cutoff
from nucleate.potentials.networks.network import Graph

DAMPING = 0.95
"""Factor of cos(theta) in the modified functions, as in NeuroChem and TorchANI: the derivative of arccos diverges at 0 and 180 degrees."""


def _values(values: Sequence[float], learnable: bool) -> nn.Parameter:
    return nn.Parameter(torch.tensor(list(values), dtype=torch.float64), requires_grad=learnable)


class Radial(nn.Module):
    """Radial functions of one edge.

    Args:
        centres: centres R_s, Å.
        eta: exponent, 1/Å^2; one for all functions, or one each.
        cutoff: cutoff radius, Å.
        learnable: whether centres and widths are trained.
    """

    def __init__(self, centres: Sequence[float], eta: float | Sequence[float], cutoff: float, learnable: bool = False):
        super().__init__()
        self.cutoff = cutoff
        self.centres = _values(centres, learnable)
        etas = [eta] * len(centres) if isinstance(eta, int | float) else eta
        # The logarithm is trained, so that the exponents stay positive.
        self.log_eta = _values([math.log(x) for x in etas], learnable)

    def __len__(self) -> int:
        return len(self.centres)

    def forward(self, distance: Tensor) -> Tensor:
        """Map (n_edges,) distances to (n_edges, n_functions) values."""
        apart = distance.unsqueeze(1) - self.centres
        return torch.exp(-self.log_eta.exp() * apart * apart) * cosine_cutoff(distance, self.cutoff).unsqueeze(1)


class ModifiedAngular(nn.Module):
    """Angular functions of ANI; the outer index is the centre of the mean distance, the inner index is the angle.

    Args:
        centres: centres R_s of the mean distance, Å.
        angles: angles theta_s, radians.
        eta: exponent of the mean distance, 1/Å^2.
        zeta: exponent of the angular term.
        cutoff: cutoff radius, Å.
        learnable: whether centres, angles and eta are trained.
        damping: factor of the cosine.
    """

    def __init__(
        self,
        centres: Sequence[float],
        angles: Sequence[float],
        eta: float,
        zeta: float,
        cutoff: float,
        learnable: bool = False,
        damping: float = DAMPING,
    ):
        super().__init__()
        self.cutoff, self.zeta, self.damping = cutoff, zeta, damping
        self.centres = _values(centres, learnable)
        self.angles = _values(angles, learnable)
        self.log_eta = _values([math.log(eta)], learnable)

    def __len__(self) -> int:
        return len(self.centres) * len(self.angles)

    def forward(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Map the vectors (n_triples, 3) of both arms to the factors (n_triples, n_centres) and (n_triples, n_angles)."""
        first, second = one.norm(dim=1), two.norm(dim=1)
        cosine = self.damping * (one * two).sum(1) / (first * second)
        sine = (1 - cosine * cosine).clamp_min(1e-12).sqrt()
        turned = cosine.unsqueeze(1) * self.angles.cos() + sine.unsqueeze(1) * self.angles.sin()
        # 2^(1-zeta) (1 + c)^zeta = 2 ((1 + c) / 2)^zeta
        angular = 2 * ((1 + turned) / 2).clamp_min(1e-12) ** self.zeta
        apart = 0.5 * (first + second).unsqueeze(1) - self.centres
        cut = cosine_cutoff(first, self.cutoff) * cosine_cutoff(second, self.cutoff)
        return torch.exp(-self.log_eta.exp() * apart * apart) * cut.unsqueeze(1), angular


class OriginalAngular(nn.Module):
    """Angular functions of Behler and Parrinello, for every combination of eta, zeta and the sign of lambda.

    Args:
        etas: exponents of the distances, 1/Å^2.
        zetas: exponents of the angular term.
        cutoff: cutoff radius, Å.
        learnable: whether the etas are trained.
    """

    def __init__(self, etas: Sequence[float], zetas: Sequence[float], cutoff: float, learnable: bool = False):
        super().__init__()
        self.cutoff = cutoff
        self.log_eta = _values([math.log(x) for x in etas], learnable)
        self.register_buffer("zetas", torch.tensor(list(zetas), dtype=torch.float64).repeat_interleave(2))
        self.register_buffer("signs", torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(len(zetas)))

    zetas: Tensor
    signs: Tensor

    def __len__(self) -> int:
        return len(self.log_eta) * len(self.zetas)

    def forward(self, one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
        """Map the vectors (n_triples, 3) of both arms to the factors (n_triples, n_etas) and (n_triples, 2 n_zetas)."""
        squares = (one * one).sum(1), (two * two).sum(1), ((one - two) ** 2).sum(1)
        # Both arms may end at the same point, where the derivative of the square root of the third side would diverge.
        third = squares[2].clamp_min(1e-12).sqrt()
        first, second = squares[0].sqrt(), squares[1].sqrt()
        cosine = (one * two).sum(1) / (first * second)
        cut = cosine_cutoff(first, self.cutoff) * cosine_cutoff(second, self.cutoff) * cosine_cutoff(third, self.cutoff)
        angular = 2 * ((1 + self.signs * cosine.unsqueeze(1)) / 2).clamp_min(1e-12) ** self.zetas
        return torch.exp(-self.log_eta.exp() * sum(squares).unsqueeze(1)) * cut.unsqueeze(1), angular  # type: ignore[union-attr]


class SymmetryFunctions(nn.Module):
    """All symmetry functions of every atom, with separate sums for the species of the neighbours.

    Args:
        n_species: number of species.
        radial: functions of a pair.
        angular: functions of a triple.
    """

    def __init__(self, n_species: int, radial: Radial, angular: ModifiedAngular | OriginalAngular):
        super().__init__()
        self.n_species, self.radial, self.angular = n_species, radial, angular
        pairs = torch.zeros(n_species, n_species, dtype=torch.int64)
        upper = torch.triu_indices(n_species, n_species)
        pairs[upper[0], upper[1]] = torch.arange(upper.shape[1])
        self.register_buffer("pairs", torch.maximum(pairs, pairs.T))
        self.n_pairs = upper.shape[1]

    pairs: Tensor

    def __len__(self) -> int:
        return self.n_species * len(self.radial) + self.n_pairs * len(self.angular)

    def forward(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Map (n_edges, 3) vectors to (n_atoms, n_functions): radial blocks by species, then angular blocks by pair of species."""
        return self.terms(vectors, graph).collect()

    def terms(self, vectors: Tensor, graph: Graph) -> Terms:
        """Return the contributions of each edge and each triple to its atom."""
        distance = vectors.norm(dim=1)
        near = (distance.detach() < self.angular.cutoff).nonzero().flatten()
        arms, centre, kind = vectors[near], graph.centre[near], graph.kind[graph.neighbour[near]]
        one, two = triples(centre, graph.n_atoms)
        outer, inner = self.angular(arms[one], arms[two])
        return Terms(
            graph.n_atoms,
            self.n_species,
            self.n_pairs,
            self.radial(distance),
            graph.centre * self.n_species + graph.kind[graph.neighbour],
            outer,
            inner,
            centre[one] * self.n_pairs + self.pairs[kind[one], kind[two]],
        )


@dataclass(frozen=True)
class Terms:
    """Contributions to the symmetry functions before summation.

    Those of triples are stored as two factors, so that their product is not part of the backward pass.

    Attributes:
        n_atoms, n_species, n_pairs: numbers of atoms, species and pairs of species.
        radial: (n_edges, n_radial) radial functions.
        edge_place: (n_edges,) row (atom and species) to which each edge is added.
        outer, inner: (n_triples, a) and (n_triples, b) factors of the a * b angular functions.
        triple_place: (n_triples,) row (atom and pair of species) to which each triple is added.
    """

    n_atoms: int
    n_species: int
    n_pairs: int
    radial: Tensor
    edge_place: Tensor
    outer: Tensor
    inner: Tensor
    triple_place: Tensor

    def collect(self) -> Tensor:
        """Return the (n_atoms, n_functions) sums."""
        rows = self.radial.new_zeros(self.n_atoms * self.n_species, self.radial.shape[1])
        radial = rows.index_add(0, self.edge_place, self.radial)
        product = (self.outer.unsqueeze(2) * self.inner.unsqueeze(1)).flatten(1)
        rows = self.radial.new_zeros(self.n_atoms * self.n_pairs, product.shape[1])
        angular = rows.index_add(0, self.triple_place, product)
        return torch.cat([radial.view(self.n_atoms, -1), angular.view(self.n_atoms, -1)], dim=1)

    def contract(self, slope: Tensor) -> Tensor:
        """Return the scalar sum of all functions times `slope` (n_atoms, n_functions); its gradient is the vector-Jacobian product."""
        split = self.n_species * self.radial.shape[1]
        radial = slope[:, :split].reshape(-1, self.radial.shape[1]).index_select(0, self.edge_place)
        angular = slope[:, split:].reshape(-1, self.outer.shape[1] * self.inner.shape[1]).index_select(0, self.triple_place)
        matrices = angular.view(-1, self.outer.shape[1], self.inner.shape[1])
        turned = torch.bmm(matrices, self.inner.unsqueeze(2)).squeeze(2)
        return (radial * self.radial).sum() + (turned * self.outer).sum()


def triples(centre: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Return every unordered pair of edges with a common centre as two lists of edge indices; `centre` must be ascending."""
    counts = torch.bincount(centre, minlength=n_atoms)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(centre), device=centre.device) - starts[centre]
    one = torch.repeat_interleave(torch.arange(len(centre), device=centre.device), rank)
    return one, ragged_arange(starts[centre], rank)
