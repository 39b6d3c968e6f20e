"""Batched relaxation of crystals of rigid molecules: their centres, orientations and the cell move, their geometries do not.

The coordinates of a step are translations of the centres, rotation vectors of the molecules times their radii of gyration, and the strain
times the number of atoms, so that all are lengths. Gradients follow from the forces f, the positions b relative to the centres and the
stress of the energy surface: minus the sum of f for a centre, minus the sum of b x f for a rotation, and

    V (stress + pressure) + sum_i f_i (outer) b_i

for the strain, because a strain moves the centres and not the atoms relative to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.potentials.base import Potential
from nucleate.relax.batched import CommitteeSurface
from nucleate.relax.settings import RelaxSettings
from nucleate.units import GPA

HISTORY = 10
"""Number of steps in the memory of L-BFGS."""
ALPHA = 20.0
"""Initial curvature, eV/Å²."""


@dataclass
class _Bodies:
    """Positions of the molecules of a batch: centres (B, m, 3), relative positions (B, n, 3) and cells (B, 3, 3)."""

    centres: Tensor
    relative: Tensor
    cells: Tensor

    def moved(self, step: Tensor, parts: Tensor, radii: Tensor) -> _Bodies:
        """Return the bodies after a step (B, 6 m + 6)."""
        count, m = len(step), self.centres.shape[1]
        n = self.relative.shape[1]
        translation = step[:, : 3 * m].view(count, m, 3)
        turn = step[:, 3 * m : 6 * m].view(count, m, 3) / radii.view(1, m, 1)
        strain = torch.zeros_like(self.cells)
        for k, (i, j) in enumerate(_PAIRS):
            strain[:, i, j] = strain[:, j, i] = step[:, 6 * m + k] / (n * (1.0 if i == j else 2.0**0.5))
        deformation = torch.linalg.matrix_exp(strain)
        rotations = torch.linalg.matrix_exp(_skew(turn))
        relative = torch.einsum("bnij,bnj->bni", rotations[:, parts], self.relative)
        return _Bodies((self.centres + translation) @ deformation, relative, self.cells @ deformation)


_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def _skew(vectors: Tensor) -> Tensor:
    """Return the (..., 3, 3) matrices of cross products with (..., 3) vectors."""
    x, y, z = vectors.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).view(*vectors.shape[:-1], 3, 3)


@dataclass(frozen=True, eq=False)
class RigidMolecules:
    """Molecules that are relaxed as rigid bodies first.

    Attributes:
        parts: (n,) molecule of each atom, from 0, the same for all structures.
        steps: largest number of steps.
    """

    parts: np.ndarray
    steps: int


def relax_rigid(structures: Sequence[Atoms], molecules: RigidMolecules, potential: Potential, settings: RelaxSettings) -> list[Atoms]:
    """Relax crystals with the same molecules in the same order, as rigid bodies.

    Args:
        structures: crystals whose molecules are in one piece.
        molecules: the molecules, and the number of steps.
        potential: a potential or committee.
        settings: `volume_range`, `maxstep`, `pressure`, `smax`, and `fmax` for the force on a molecule divided by its number of atoms.

    Returns:
        The crystals with the lowest enthalpy of the relaxation, and a volume within `volume_range`.
    """
    batch = CrystalBatch.from_atoms(structures)
    index = torch.as_tensor(molecules.parts)
    m, count = int(index.max()) + 1, len(batch)
    sizes = torch.bincount(index, minlength=m).to(batch.positions.dtype)
    positions = batch.positions.view(count, len(index), 3)
    centres = torch.zeros(count, m, 3, dtype=positions.dtype).index_add_(1, index, positions) / sizes.view(1, m, 1)
    bodies = _Bodies(centres, positions - centres[:, index], batch.cells)
    radii = (torch.zeros(m, dtype=positions.dtype).index_add_(0, index, bodies.relative[0].square().sum(1)) / sizes).sqrt().clamp_min(0.5)
    surface = CommitteeSurface(potential)
    start = batch.volumes
    best = torch.full((count,), torch.inf, dtype=positions.dtype)
    kept = bodies
    memory: list[tuple[Tensor, Tensor]] = []
    last: tuple[Tensor, Tensor] | None = None
    for _ in range(molecules.steps):
        here = replace(batch, positions=(bodies.centres[:, index] + bodies.relative).reshape(-1, 3), cells=bodies.cells)
        found = surface(here)
        forces = found.forces.to(positions.dtype).view(count, -1, 3)
        energy = found.energy.to(positions.dtype) + settings.pressure * GPA * here.volumes
        volume = here.volumes / start
        lower = (energy < best) & (volume > settings.volume_range[0]) & (volume < settings.volume_range[1])
        best = torch.where(lower, energy, best)
        choose = lower.view(-1, 1, 1)
        kept = _Bodies(*(torch.where(choose, new, old) for new, old in zip(_fields(bodies), _fields(kept), strict=True)))
        gradient, done = _gradient(bodies, forces, found.stress.to(positions.dtype), here.volumes, index, sizes, radii, settings)
        gradient = torch.where(torch.isfinite(energy).view(-1, 1) & ~done.view(-1, 1), gradient, torch.zeros_like(gradient))
        if not gradient.any():
            break
        if last is not None:
            memory = [*memory[1 - HISTORY :], (last[0], gradient - last[1])]
        step = _direction(memory, gradient)
        longest = step.view(count, -1, 3).norm(dim=2).amax(1)
        step = step * (settings.maxstep / longest.clamp_min(1e-12)).clamp_max(1.0).view(-1, 1)
        bodies = bodies.moved(step, index, radii)
        last = (step, gradient)
    ends = replace(batch, positions=(kept.centres[:, index] + kept.relative).reshape(-1, 3), cells=kept.cells)
    return ends.to_atoms()


def _fields(bodies: _Bodies) -> tuple[Tensor, Tensor, Tensor]:
    return bodies.centres, bodies.relative, bodies.cells


def _gradient(
    bodies: _Bodies, forces: Tensor, stress: Tensor, volumes: Tensor, index: Tensor, sizes: Tensor, radii: Tensor, settings: RelaxSettings
) -> tuple[Tensor, Tensor]:
    """Return the (B, 6 m + 6) gradients and whether each structure has converged."""
    count, n, _ = forces.shape
    m = len(sizes)
    zero = forces.new_zeros(count, m, 3)
    total = zero.index_add(1, index, forces)
    torque = zero.index_add(1, index, torch.linalg.cross(bodies.relative, forces))
    identity = torch.eye(3, dtype=forces.dtype)
    work = volumes.view(-1, 1, 1) * (stress + settings.pressure * GPA * identity) + torch.einsum("bni,bnj->bij", forces, bodies.relative)
    work = 0.5 * (work + work.transpose(1, 2))
    strains = torch.stack([work[:, i, j] * (1.0 if i == j else 2.0**0.5) for i, j in _PAIRS], dim=1) / n
    gradient = torch.cat([-total.reshape(count, -1), -(torque / radii.view(1, m, 1)).reshape(count, -1), strains], dim=1)
    pulls = torch.maximum(total.norm(dim=2), torque.norm(dim=2) / radii) / sizes
    residual = work.abs().amax((1, 2)) / volumes
    return gradient, (pulls.amax(1) < settings.fmax) & (residual < settings.smax * GPA)


def _direction(memory: list[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """Return the step of L-BFGS (J. Nocedal, Math. Comp. 35, 773 (1980)) for each row; steepest descent where it would point uphill."""
    q = gradient
    weights = []
    for s, y in reversed(memory):
        curvature = (s * y).sum(1)
        rho = torch.where(curvature > 1e-12, 1 / curvature.clamp_min(1e-12), torch.zeros_like(curvature))
        a = rho * (s * q).sum(1)
        q = q - a.view(-1, 1) * torch.where(rho.view(-1, 1) > 0, y, torch.zeros_like(y))
        weights.append((rho, a))
    z = q / ALPHA
    for (s, y), (rho, a) in zip(memory, reversed(weights), strict=True):
        z = z + (a - rho * (y * z).sum(1)).view(-1, 1) * torch.where(rho.view(-1, 1) > 0, s, torch.zeros_like(s))
    uphill = (z * gradient).sum(1) <= 0
    return torch.where(uphill.view(-1, 1), -gradient / ALPHA, -z)
