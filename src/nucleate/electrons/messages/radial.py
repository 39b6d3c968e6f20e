"""Radial functions of messages."""

from __future__ import annotations

import torch
from torch import Tensor

from nucleate.potentials.harmonics import solid_harmonics

SOFT = 0.5
"""Å. Distances to grid points are softened by it, because a point may coincide with a nucleus."""


def shells(distance: Tensor, count: int, cutoff: float) -> Tensor:
    """Return (..., count) equidistant Gaussians times the envelope (1 - (r / rc)²)³, for distances (...) in Å."""
    width = cutoff / (count + 1)
    centres = torch.arange(count, dtype=distance.dtype, device=distance.device) * width
    inside = (1 - (distance / cutoff).square()).clamp(min=0)
    return torch.exp(-0.75 * ((distance.unsqueeze(-1) - centres) / width).square()) * inside.pow(3).unsqueeze(-1)


def directions(vectors: Tensor, degree: int, soft: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return softened lengths (...) and harmonics (..., (degree + 1)²) with mean square 1 of vectors (..., 3).

    Args:
        vectors: Vectors in Å.
        degree: Maximum degree.
        soft: Length s in sqrt(r² + s²), by which the vectors are divided.
    """
    length = (vectors.square().sum(-1) + soft**2).sqrt()
    x, y, z = (vectors / length.unsqueeze(-1)).unbind(-1)
    return length, solid_harmonics(x, y, z, degree, dim=-1) * (4 * torch.pi) ** 0.5
