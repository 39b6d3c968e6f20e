"""The contract of a grid descriptor: what surrounds a point of space, as numbers a network can read."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class GridDescriptor(Protocol):
    """Invariant features of points in space, from the atoms around them; differentiable in both."""

    cutoff: float
    """Å; atoms further away are not seen."""
    features: int
    """How many numbers a point has."""

    def __call__(self, points: Tensor, atoms: Tensor, species: Tensor) -> Tensor:
        """Features of blocks of points.

        Args:
            points: (blocks, points, 3), Å.
            atoms: (blocks, atoms, 3), Å: every periodic image within the cutoff of any point of the block, and any others.
            species: (blocks, atoms) index of each atom's species, int64; -1 pads blocks with fewer atoms.

        Returns:
            (blocks, points, features), of the floating-point type of `points`.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What makes it again."""
        ...
