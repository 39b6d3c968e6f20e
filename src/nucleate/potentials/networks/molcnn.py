"""Molecular convolution network: bonds are convolutions of atoms, and angles are convolutions of bonds.

    atoms    t1_i    one-hot species
    bonds    t2_ijc  = R(sum_ab w2_cab t1_ia t1_jb G(r_ij - r_c))
    angles   t3_ijkd = R(sum_cc' w3_d,z(i),cc' t2_ijc t2_ikc' G(theta_jik - theta_d))
    energy   E_i     = sum_jc a_c t2_ijc + sum_jkd b_d t3_ijkd

R is the ReLU, and G are Gaussian masks. The network follows the molecular convolution network of E. Küçükbenli's lectures on neural
networks for crystal structure prediction (SISSA): four species give 4 x 4 x 4 weights for bonds and 4 x 4 x 4 x 4 for angles.

Neighbours are all atoms within a smooth cutoff, or the N nearest ones. With the N nearest the energy is discontinuous when the set of
neighbours changes, so that molecular dynamics does not conserve it; the smooth cutoff is therefore the default.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from nucleate.potentials.networks.layers import smooth_cutoff
from nucleate.potentials.networks.network import Graph, NetworkPotential
from nucleate.potentials.networks.settings import MolCNNSettings
from nucleate.potentials.networks.symmetry_functions import triples


class MolCNN(NetworkPotential):
    """A committee of molecular convolution networks; see `MolCNNSettings`.

    Args:
        species: atomic numbers of the supported elements.
        settings: sizes and neighbours.
        seed: random seed of the initial weights.
    """

    settings: MolCNNSettings

    family = "molcnn"

    def __init__(self, species: tuple[int, ...], settings: MolCNNSettings | None = None, seed: int = 0):
        s = settings or MolCNNSettings()
        super().__init__(species, s.cutoff, s.members, s.wall_fraction, s.wall_strength)
        self.settings = s
        draw = torch.Generator().manual_seed(seed)
        n = len(self.species)

        def normal(*shape: int, std: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=draw, dtype=torch.float64) * std)

        # Initial weights are positive, because the ReLU of a negative bond has no gradient.
        self.bond_weight = nn.Parameter(normal(s.members, n, n, s.bonds, std=1.0).detach().abs())
        self.angle_weight = normal(s.members, n, s.bonds, s.bonds, s.angles, std=1.0 / s.bonds)
        self.bond_energy = normal(s.members, s.bonds, std=0.3)
        self.angle_energy = normal(s.members, s.angles, std=0.3)
        self.bond_centres = nn.Parameter(torch.linspace(s.bond_start, 0.8 * s.cutoff, s.bonds, dtype=torch.float64))
        self.bond_log_width = nn.Parameter(torch.full((s.bonds,), math.log(s.bond_width), dtype=torch.float64))
        turns = (torch.arange(s.angles, dtype=torch.float64) + 0.5) * (math.pi / max(s.angles, 1))
        self.angle_centres = nn.Parameter(turns)
        self.angle_log_width = nn.Parameter(torch.full((s.angles,), math.log(s.angle_width), dtype=torch.float64))

    def atomic_energies(self, vectors: Tensor, graph: Graph) -> Tensor:
        """Return the (m, n_atoms) energies in units of `energy_scale`; see `NetworkPotential`."""
        s = self.settings
        centre, neighbour = graph.centre, graph.neighbour
        distance = vectors.norm(dim=-1)
        if s.neighbours == "nearest":
            chosen = _nearest(distance[0].detach(), centre, graph.n_atoms, s.nearest)
            vectors, distance, centre, neighbour = vectors[:, chosen], distance[:, chosen], centre[chosen], neighbour[chosen]
            reach = torch.ones_like(distance)
        else:
            reach = smooth_cutoff(distance, self.cutoff)
        z_i, z_j = graph.kind[centre], graph.kind[neighbour]
        mask = torch.exp(-(((distance.unsqueeze(-1) - self.bond_centres) / self.bond_log_width.exp()) ** 2))
        bonds = torch.relu(self.bond_weight[:, z_i, z_j] * mask) * reach.unsqueeze(-1)
        energy = bonds.new_zeros(self.members, graph.n_atoms).index_add(1, centre, torch.einsum("mec,mc->me", bonds, self.bond_energy))
        if s.angles == 0:
            return energy
        one, two = triples(centre, graph.n_atoms)
        cosine = (vectors[:, one] * vectors[:, two]).sum(-1) / (distance[:, one] * distance[:, two])
        # The derivative of arccos diverges at its ends; the factor 0.999 keeps it finite for collinear neighbours.
        angle = torch.arccos(0.999 * cosine.clamp(-1, 1))
        mask = torch.exp(-(((angle.unsqueeze(-1) - self.angle_centres) / self.angle_log_width.exp()) ** 2))
        weight = self.angle_weight[:, z_i[one]]
        # The weights are symmetrised, so that an angle does not depend on the order of its arms.
        mixed = torch.einsum("mtc,mtd,mtcdk->mtk", bonds[:, one], bonds[:, two], weight + weight.transpose(2, 3))
        angles = torch.relu(mixed * mask)
        if s.pool == "max":
            top = angles.new_zeros(self.members, graph.n_atoms, s.angles)
            where = centre[one].view(1, -1, 1).expand_as(angles)
            angles = top.scatter_reduce(1, where, angles, "amax")
            return energy + torch.einsum("mnk,mk->mn", angles, self.angle_energy)
        return energy.index_add(1, centre[one], torch.einsum("mtk,mk->mt", angles, self.angle_energy))


def _nearest(distance: Tensor, centre: Tensor, n_atoms: int, count: int) -> Tensor:
    """Return the ascending indices of the `count` shortest edges of every centre."""
    order = torch.argsort(distance, stable=True)
    order = order[torch.argsort(centre[order], stable=True)]
    counts = torch.bincount(centre, minlength=n_atoms)
    starts = torch.cumsum(counts, 0) - counts
    rank = torch.arange(len(centre), device=centre.device) - starts[centre]
    return order[rank < count].sort().values
