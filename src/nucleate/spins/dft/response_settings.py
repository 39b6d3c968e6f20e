"""Settings of couplings from one self-consistent state, and the meshes that distinguish their pairs."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from nucleate.crystals.checks import across_vacuum
from nucleate.crystals.images import plane_distances
from nucleate.errors import BadInput

MARGIN = 2e-3
"""Distance in Å from the boundary of the supercell within which pairs would coincide with their images."""


class LiechtensteinSettings(BaseModel):
    """Settings of couplings from one self-consistent state."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    moments: dict[str, float] = Field(description="Initial moment of each magnetic element in Bohr magnetons.")
    cutoff: float = Field(8.0, gt=0, description="Largest pair distance in Å.")
    length: float = Field(
        28.0, gt=0, description="Minimum side length in Å of the supercell that corresponds to the k-point mesh; at least twice the cutoff."
    )
    mesh: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="k-point mesh of the couplings; default: from length."
    )
    bands: float = Field(3.0, gt=0.6, description="Number of bands per valence electron.")
    kept: float = Field(0.5, gt=0, lt=1, description="Minimum final moment of a site as a fraction of its initial moment.")
    spin_orbit: bool = Field(False, description="Compute tensors with Dzyaloshinskii-Moriya vectors; more than three times the cost.")
    renormalised: bool = Field(False, description="Couplings of the directions of moments (exact static response).")
    cone_angle: float | None = Field(
        None,
        gt=0,
        le=90,
        description="Couplings from conical spirals of one site; angle of its moments with the axis in degrees.",
    )
    cone_mesh: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None,
        description="Mesh of the spirals, a divisor of the k-point mesh; default: the smallest that distinguishes all pairs.",
    )

    @model_validator(mode="after")
    def _one_method(self) -> LiechtensteinSettings:
        chosen = [name for name in ("spin_orbit", "renormalised", "cone_angle") if getattr(self, name)]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} cannot be combined")
        if self.cone_mesh is not None and self.cone_angle is None:
            raise ValueError("cone_mesh has no effect without cone_angle")
        return self


def mesh_for(atoms: Atoms, settings: LiechtensteinSettings) -> tuple[int, int, int]:
    """Return a k-point mesh whose supercell distinguishes all pairs within the cutoff; one chosen here is even along each
    vector, and has one point across a vacuum.

    Raises:
        BadInput: The given mesh does not distinguish them.
    """
    heights = _heights(atoms)
    if settings.mesh is None:
        a, b, c = (max(1, 2 * int(np.ceil(max(settings.length, 2.001 * settings.cutoff) / (2 * h)))) for h in heights)
        return a, b, c
    return _distinguishing(settings.mesh, heights, settings.cutoff, "k-points")


def _heights(atoms: Atoms) -> np.ndarray:
    """Return the distances (3,) of neighbouring lattice planes in Å; infinity across a vacuum, where no couplings extend."""
    return np.where(across_vacuum(atoms), np.inf, plane_distances(atoms.cell.array))


def _distinguishing(mesh: tuple[int, int, int], heights: np.ndarray, cutoff: float, points: str) -> tuple[int, int, int]:
    """Return a mesh, or raise `BadInput` if its supercell does not distinguish all pairs within the cutoff."""
    reach = float((np.array(mesh) * heights).min() / 2)
    if reach < cutoff + MARGIN:
        shown = " x ".join(map(str, mesh))
        raise BadInput(f"a mesh of {shown} {points} distinguishes pairs up to {reach:.2f} Å only; use a denser mesh or a smaller cutoff")
    return mesh


def cone_mesh_for(atoms: Atoms, sites: np.ndarray, mesh: tuple[int, int, int], settings: LiechtensteinSettings) -> tuple[int, int, int]:
    """Return the mesh of the spirals: the given one, or the smallest divisors of the k-point mesh that distinguish all pairs.

    Raises:
        BadInput: There are several sites, or the given mesh does not distinguish all pairs or does not divide that of the k-points.
    """
    if len(sites) != 1:
        raise BadInput(f"cone_angle: the cell has {len(sites)} magnetic sites, and spirals need one; give the primitive cell")
    heights = _heights(atoms)
    if settings.cone_mesh is None:
        a, b, c = (
            min(d for d in range(1, m + 1) if m % d == 0 and (d * h / 2 > settings.cutoff + MARGIN or d == m))
            for m, h in zip(mesh, heights, strict=True)
        )
        return a, b, c
    if any(m % d for m, d in zip(mesh, settings.cone_mesh, strict=True)):
        shown, points = (" x ".join(map(str, m)) for m in (settings.cone_mesh, mesh))
        raise BadInput(f"cone_mesh {shown} does not divide the mesh of {points} k-points")
    return _distinguishing(settings.cone_mesh, heights, settings.cutoff, "wave vectors")
