"""The overlap of GPAW's Gaussian ions: a term that is no physics, but that GPAW's energies hold.

GPAW lets the Gaussian charges of norm-conserving ions act on each other as they are and not as points:

    E_ov = -(k/2) sum' Z_i Z_j erfc(r_ij / sqrt(2 (s_i² + s_j²))) / r_ij,   s = r_loc.

Point ions are right; the term serves comparison with GPAW (Be: -8 meV/atom, Al: nothing).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.electrons.terms.ewald import one_structure
from nucleate.units import COULOMB

REACH = 6.0
"""Widths sqrt(s_i² + s_j²) beyond which the complementary error function is nothing."""


def overlap_energy(positions: Tensor, cell: Tensor, charges: Tensor, radii: Tensor) -> Tensor:
    """Of ions with charges (e) and widths r_loc (Å), eV; differentiable in positions and cell."""
    batch, edges = one_structure(positions, cell, REACH * 2**0.5 * float(radii.max()))
    if not len(edges.centre):
        return torch.zeros((), dtype=torch.float64)
    distance = edges.vectors(batch).norm(dim=1)
    i, j = edges.centre, edges.neighbour
    width = torch.sqrt(2 * (radii[i] ** 2 + radii[j] ** 2))
    return -COULOMB / 2 * (charges[i] * charges[j] * torch.erfc(distance / width) / distance).sum()
