"""Overlap energy of GPAW's Gaussian ions, an unphysical term contained in GPAW's energies.

GPAW computes the interaction of norm-conserving ions from their Gaussian charges instead of point charges:

    E_ov = -(k/2) sum' Z_i Z_j erfc(r_ij / sqrt(2 (s_i² + s_j²))) / r_ij,   s = r_loc.

Point ions are physically correct; the term is for comparison with GPAW only (Be: -8 meV/atom, Al: negligible).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.electrons.terms.ewald import one_structure
from nucleate.units import COULOMB

REACH = 6.0
"""Cutoff in widths sqrt(s_i² + s_j²) beyond which the complementary error function is negligible."""


def overlap_energy(positions: Tensor, cell: Tensor, charges: Tensor, radii: Tensor) -> Tensor:
    """Return the overlap energy in eV for charges (e) and widths r_loc (Å), differentiable in positions and cell."""
    batch, edges = one_structure(positions, cell, REACH * 2**0.5 * float(radii.max()))
    if not len(edges.centre):
        return torch.zeros((), dtype=torch.float64)
    distance = edges.vectors(batch).norm(dim=1)
    i, j = edges.centre, edges.neighbour
    width = torch.sqrt(2 * (radii[i] ** 2 + radii[j] ** 2))
    return -COULOMB / 2 * (charges[i] * charges[j] * torch.erfc(distance / width) / distance).sum()
