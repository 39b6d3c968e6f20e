"""Default descriptor: power spectrum and a low-order bispectrum of the atoms around a point.

    c_nlm(r) = sum_k g_n(s_k - a) |u_k|^l Y_lm(u_k),   u_k = (R_k - r) / s_k,   s_k = sqrt(|R_k - r|² + a²),
    p_nn'l   = sum_m c_nlm c_n'lm / sqrt(2l + 1),
    b_n      = int f_n(w)³ dw,  b'_n = int f_n(w)² f_n+1(w) dw,   f_n = sum_(l <= 3, m) c_nlm Y_lm.

A. P. Bartok, R. Kondor and G. Csanyi, Phys. Rev. B 87, 184115 (2013), doi 10.1103/PhysRevB.87.184115; integrals over directions use a
Lebedev grid as in the atomic cluster expansion, R. Drautz, Phys. Rev. B 99, 014104 (2019), doi 10.1103/PhysRevB.99.014104. Distances are
softened with a = 0.5 Å, and unit vectors vanish at the atom, so that the features are smooth where a grid point coincides with a
nucleus. g_n are equidistant Gaussians times the smooth cutoff (1 - (|R_k - r|/rc)²)³. With several species there is one set of radial
functions for each.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nucleate.errors import BadInput
from nucleate.potentials.basis import sphere_rule
from nucleate.potentials.harmonics import solid_harmonics

SOFT = 0.5
"""Å."""
CUBIC_DEGREE = 3
"""Maximum l of the cubic features."""


class PowerSpectrum:
    """Invariants of second and third order of the atoms within a cutoff.

    Args:
        n_species: Number of elements.
        cutoff: Cutoff radius in Å.
        radial: Number of radial functions.
        degree: Maximum l.
        cubic: Whether to include features of third order.
    """

    def __init__(self, n_species: int = 1, cutoff: float = 4.7, radial: int = 8, degree: int = 5, cubic: bool = True):
        if not (cutoff > 0 and math.isfinite(cutoff) and radial >= 1 and 0 <= degree <= 12 and n_species >= 1):
            raise BadInput(f"descriptor power: cutoff {cutoff:g} must be > 0, radial {radial} >= 1, and degree {degree} from 0 to 12")
        self.n_species = n_species
        self.cutoff = cutoff
        self.radial = radial
        self.degree = degree
        self.cubic = cubic
        channels = n_species * radial
        self._pairs = torch.triu_indices(channels, channels)
        self._centres = torch.linspace(0, cutoff * radial / (radial + 1), radial, dtype=torch.float64)
        width = float(self._centres[1]) if radial > 1 else cutoff / 2
        self._exponent = 1 / (2 * width**2) * 1.5
        points, weights = sphere_rule()
        x, y, z = torch.tensor(points.T, dtype=torch.float64)
        self._directions = solid_harmonics(x, y, z, min(CUBIC_DEGREE, degree))
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self.features = self._pairs.shape[1] * (degree + 1) + channels + (2 * channels - 1 if cubic else 0)

    def settings(self) -> dict[str, Any]:
        """See `GridDescriptor`."""
        return {
            "name": "power",
            "n_species": self.n_species,
            "cutoff": self.cutoff,
            "radial": self.radial,
            "degree": self.degree,
            "cubic": self.cubic,
        }

    def __call__(self, points: Tensor, atoms: Tensor, species: Tensor) -> Tensor:
        """See `GridDescriptor`."""
        c = self._coefficients(points, atoms, species)
        blocks, count = points.shape[:2]
        rows: list[Tensor] = [c[..., 0]]
        first, second = self._pairs.to(c.device)
        for l in range(self.degree + 1):
            part = c[..., l * l : (l + 1) ** 2]
            products = torch.bmm(part, part.transpose(1, 2)) / (2 * l + 1) ** 0.5
            rows.append(products[:, first, second])
        if self.cubic:
            directions = self._directions.to(c)
            f = c[..., : len(directions)] @ directions
            weighted = f * f * self._weights.to(c)
            rows.append((weighted * f).sum(-1))
            rows.append((weighted[:, :-1] * f[:, 1:]).sum(-1))
        return torch.cat(rows, dim=1).view(blocks, count, -1)

    def _coefficients(self, points: Tensor, atoms: Tensor, species: Tensor) -> Tensor:
        """Return c, (blocks * points, species * radial, (degree + 1)²)."""
        blocks, count, near = points.shape[0], points.shape[1], atoms.shape[1]
        x, y, z = (atoms[:, None, :, k] - points[:, :, None, k] for k in range(3))
        squared = x * x + y * y + z * z
        blunt = torch.sqrt(squared + SOFT**2)
        inverse, distance = 1 / blunt, blunt - SOFT
        inside = (1 - squared / self.cutoff**2).clamp(min=0) * (species >= 0)[:, None]
        envelope = inside**3
        x, y, z = x * inverse, y * inverse, z * inverse
        harmonics = solid_harmonics(x, y, z, self.degree).view(-1, blocks * count, near).transpose(0, 1)
        centres = self._centres.to(points)
        shells = torch.exp(-self._exponent * (distance.view(-1, 1, near) - centres.view(1, -1, 1)) ** 2) * envelope.view(-1, 1, near)
        if self.n_species > 1:
            own = torch.nn.functional.one_hot(species.clamp(min=0), self.n_species).to(points).transpose(1, 2)
            own = own[:, None].expand(blocks, count, -1, -1).reshape(-1, self.n_species, 1, near)
            shells = (own * shells.unsqueeze(1)).reshape(-1, self.n_species * self.radial, near)
        return torch.bmm(shells, harmonics.transpose(1, 2))
