"""Periodic images of atoms near the cell, differentiable in positions and cell through their indices."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nucleate.crystals.images import lattice_translations


@dataclass(frozen=True)
class AtomImages:
    """Periodic images of atoms within a distance of the cell.

    Attributes:
        atom: (n_images,) index of the atom.
        shift: (n_images, 3) integer lattice translations, float64.
        places: (n_images, 3) positions in Å, without gradient.
    """

    atom: Tensor
    shift: Tensor
    places: Tensor

    def within(self, cell: Tensor, first: float, last: float, cutoff: float) -> AtomImages:
        """Return the images within `cutoff` (Å) of the part of the cell between two fractions of its first vector."""
        inverse = torch.linalg.inv(cell.detach())
        along, margin = self.places @ inverse[:, 0], cutoff * float(inverse[:, 0].norm())
        kept = (along > first - margin) & (along < last + margin)
        return AtomImages(self.atom[kept], self.shift[kept], self.places[kept])


def images(positions: Tensor, cell: Tensor, cutoff: float) -> AtomImages:
    """Return all images of the atoms within `cutoff` (Å) of any point of the cell."""
    fixed, box = positions.detach(), cell.detach()
    inverse = torch.linalg.inv(box)
    fractions = fixed @ inverse
    margin = cutoff * inverse.norm(dim=0)
    # Differences between an atom and a point of the cell.
    low, high = (fractions.amin(0) - 1).cpu().numpy(), fractions.amax(0).cpu().numpy()
    shifts = torch.from_numpy(lattice_translations(box.cpu().numpy(), cutoff, low, high)).to(fractions)
    placed = fractions[:, None] + shifts
    near = ((placed > -margin) & (placed < 1 + margin)).all(-1)
    atom, which = near.nonzero(as_tuple=True)
    return AtomImages(atom, shifts[which], placed[atom, which] @ box)
