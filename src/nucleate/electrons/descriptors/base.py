"""Protocol of grid descriptors, which represent the environment of a point as network features."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class GridDescriptor(Protocol):
    """Invariant features of points in space from surrounding atoms, differentiable in both."""

    cutoff: float
    """Cutoff radius in Å."""
    features: int
    """Number of features per point."""

    def __call__(self, points: Tensor, atoms: Tensor, species: Tensor) -> Tensor:
        """Return the features of blocks of points.

        Args:
            points: (blocks, points, 3) positions in Å.
            atoms: (blocks, atoms, 3) positions in Å of all periodic images within the cutoff of any point; others may be included.
            species: (blocks, atoms) index of each atom's species, int64; -1 pads blocks with fewer atoms.

        Returns:
            Features (blocks, points, features) with the floating-point type of `points`.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return the constructor arguments."""
        ...
