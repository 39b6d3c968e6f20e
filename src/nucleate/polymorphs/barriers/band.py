"""Variable-cell nudged elastic bands; the images of all bands are evaluated as one batch.

The method is the generalised solid-state nudged elastic band: D. Sheppard et al., J. Chem. Phys. 136, 074103 (2012),
doi 10.1063/1.3684549. The coordinates of an image are its atoms and J L, with the symmetric logarithmic strain L and the Jacobian
J = V^(1/3) n^(1/6) for a cell of volume V with n atoms. Distances and barriers do not depend on the choice of the cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.polymorphs.barriers.path import Path
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.potentials.base import Potential
from nucleate.progress import Progress, Step, silent
from nucleate.relax.batched import CommitteeSurface
from nucleate.relax.optimisers import Fire
from nucleate.relax.state import State, evaluate, row_owner

WARM_STEPS = 40
"""Number of steps after which the maxima of a band climb, even if the forces are still large."""
WARM_FORCE = 5.0
"""Forces below which they climb earlier, in units of the convergence threshold."""
MOST_FORCE = 1e3
"""Largest force of a band, eV/Å; a band with a larger one has failed."""
MOST_STRAIN = 1.5
"""Largest component of the logarithmic strain of an image; a band with a larger one has failed."""


@dataclass(frozen=True)
class Band:
    """A band at the end of its optimisation.

    Attributes:
        images: the images, with both ends.
        enthalpy: (images,) enthalpies per atom of the mean surface, eV.
        fmax: largest force of the band, eV/Å: across the path and along the springs, and the reversed ones of the climbing images.
        steps: number of steps.
        converged: whether `fmax` is below the threshold.
        climbing: indices of the climbing images, the maxima along the band.
    """

    images: list[Atoms]
    enthalpy: np.ndarray
    fmax: float
    steps: int
    converged: bool
    climbing: tuple[int, ...]

    @property
    def top(self) -> int:
        """Index of the highest image."""
        return int(self.enthalpy.argmax())

    @property
    def height(self) -> float:
        """Enthalpy per atom of the highest image, eV."""
        return float(self.enthalpy.max())


@dataclass(frozen=True)
class _Forces:
    """Forces of the bands in the coordinates of the method.

    Attributes:
        rows: (n_rows, 3) forces on the rows of the state.
        largest: (bands,) largest norm of a row in each band, eV/Å.
        climbing: (bands, images) whether an image climbs.
    """

    rows: Tensor
    largest: Tensor
    climbing: Tensor


class _Bands:
    """Bands that are still optimised, as one state with `images` structures each.

    Args:
        paths: starting paths, with the same number of images.
        surface: energy surface.
        pressure: external pressure, eV/Å³.
        spring: spring constant, eV/Å².
    """

    def __init__(self, paths: Sequence[Path], surface: CommitteeSurface, pressure: float, spring: float):
        self.surface, self.pressure, self.spring = surface, pressure, spring
        self.images = len(paths[0].x)
        batches = [path.batch() for path in paths]
        batch = replace(CrystalBatch.concatenate(batches), ids=torch.arange(self.images * len(paths)))
        counts = batch.counts.to(torch.float64)
        strain = torch.cat([path.log_strain for path in paths])
        zero = torch.zeros(len(batch), dtype=torch.float64)
        coordinates = torch.cat([*(path.x.reshape(-1, 3) for path in paths), (counts.view(-1, 1, 1) * strain).reshape(-1, 3)])
        cells = torch.stack([path.cell for path in paths]).repeat_interleave(self.images, dim=0)
        state = State(
            batch=batch, cells0=cells, coordinates=coordinates, gradient_force=torch.zeros_like(coordinates), owner=row_owner(batch),
            enthalpy=zero, forces=torch.zeros_like(batch.positions), stress=torch.zeros_like(cells), sigma=zero,
            steps=torch.zeros(len(batch), dtype=torch.int64), memory={},
        )  # fmt: skip
        self.optimiser = Fire()
        self.state = self.optimiser.init(evaluate(state, surface, pressure, True))
        self._index()

    def _index(self) -> None:
        """Prepare the tables that depend on which bands remain."""
        state = self.state
        counts = state.batch.counts
        jacobian = torch.linalg.det(state.cells0).abs() ** (1 / 3) * counts ** (1 / 6)
        # The state multiplies the strain by the number of atoms; the method multiplies it by the Jacobian.
        self.scale = torch.cat([torch.ones(len(state.batch.numbers)), (jacobian / counts).repeat_interleave(3)]).to(torch.float64)
        self.scale = self.scale.unsqueeze(1)
        place = torch.arange(len(state.batch)) % self.images
        stride = torch.cat([counts[state.batch.structure], torch.full((3 * len(state.batch),), 3)])
        rows = torch.arange(len(state.coordinates))
        self.inner = (place > 0) & (place < self.images - 1)
        inner = self.inner[state.owner]
        # Ends are their own neighbours, and their forces are zero.
        self.before, self.after = rows - stride * inner, rows + stride * inner

    def forces(self, climbs: Tensor) -> _Forces:
        """Return the forces of the bands.

        Tangents: G. Henkelman and H. Jónsson, J. Chem. Phys. 113, 9978 (2000), doi 10.1063/1.1323224. Climbing image: G. Henkelman,
        B. P. Uberuaga and H. Jónsson, J. Chem. Phys. 113, 9901 (2000), doi 10.1063/1.1329672. Springs across kinks: H. Jónsson, G. Mills
        and K. W. Jacobsen, in Classical and Quantum Dynamics in Condensed Phase Simulations (1998), p. 385,
        doi 10.1142/9789812839664_0016.

        Args:
            climbs: (bands,) whether the maxima of a band climb.
        """
        state = self.state
        q, force = state.coordinates * self.scale, state.gradient_force / self.scale
        ahead, behind = q[self.after] - q, q - q[self.before]
        energy = state.enthalpy.view(-1, self.images)
        up = torch.diff(energy, dim=1, append=energy[:, -1:])
        down = torch.diff(energy, dim=1, prepend=energy[:, :1])
        larger, smaller = torch.maximum(up.abs(), down.abs()), torch.minimum(up.abs(), down.abs())
        rising = up + down > 0
        extremum = up * down <= 0
        one, none = torch.ones_like(up), torch.zeros_like(up)
        weight_ahead = torch.where(extremum, torch.where(rising, larger, smaller), torch.where(up > 0, one, none)).flatten()
        weight_behind = torch.where(extremum, torch.where(rising, smaller, larger), torch.where(up > 0, none, one)).flatten()
        # Images of equal energies, as of a crystal that only turns, have the symmetric tangent.
        flat = (weight_ahead + weight_behind) == 0
        weight_ahead, weight_behind = weight_ahead + flat, weight_behind + flat
        tangent = weight_ahead[state.owner, None] * ahead + weight_behind[state.owner, None] * behind
        tangent = tangent / state.dot(tangent, tangent).sqrt().clamp_min(1e-12)[state.owner, None]
        along = state.dot(force, tangent)
        springs = self.spring * (state.dot(ahead, ahead).sqrt() - state.dot(behind, behind).sqrt())
        # Every maximum climbs: with the highest image alone, a band with two equal maxima would alternate between them.
        climbing = (up < 0) & (down > 0) & self.inner.view(-1, self.images) & climbs.unsqueeze(1)
        change = torch.where(climbing.flatten(), -2 * along, springs - along)
        rows = force + change[state.owner, None] * tangent
        # Where the path is kinked, part of the spring force across it is kept.
        bend = state.dot(ahead, behind) / (state.dot(ahead, ahead) * state.dot(behind, behind)).sqrt().clamp_min(1e-12)
        share = 0.5 * (1 + torch.cos(torch.pi * bend.clamp(0.0, 1.0))) * ~climbing.flatten()
        pull = self.spring * (ahead - behind)
        across = pull - state.dot(pull, tangent)[state.owner, None] * tangent
        rows = (rows + share[state.owner, None] * across) * self.inner[state.owner, None]
        return _Forces(rows, state.largest_row(rows).view(-1, self.images).amax(dim=1), climbing)

    def move(self, forces: Tensor) -> None:
        """Take one step of FIRE for each band and evaluate."""
        state = self.state
        # FIRE adds up products over the rows of one owner. The first image owns all rows of its band, because images with time steps of
        # their own leave the path between them kinked.
        owner = state.owner - state.owner % self.images
        moved = self.optimiser.move(replace(state, coordinates=state.coordinates * self.scale, gradient_force=forces, owner=owner))
        self.state = evaluate(
            replace(moved, coordinates=moved.coordinates / self.scale, owner=state.owner), self.surface, self.pressure, True
        )

    def broken(self, largest: Tensor) -> Tensor:
        """Return the (bands,) whether a band has failed: a number is not finite, or forces or strains are too large."""
        strain = self.state.coordinates[len(self.state.batch.numbers) :].view(len(self.state.batch), 9).abs().amax(dim=1)
        strain = (strain / self.state.batch.counts).view(-1, self.images).amax(dim=1)
        finite = torch.isfinite(largest) & torch.isfinite(self.state.enthalpy).view(-1, self.images).all(dim=1)
        return ~finite | (largest > MOST_FORCE) | (strain > MOST_STRAIN)

    def keep(self, chosen: Tensor) -> None:
        """Continue with the bands `chosen` (int64 indices)."""
        structures = (self.images * chosen.unsqueeze(1) + torch.arange(self.images)).flatten()
        self.surface.neighbours.keep(structures, self.state.batch, 0)
        self.state = self.state.select(structures)
        self._index()

    def band(self, k: int, forces: _Forces, converged: bool) -> Band:
        """Return the band with index `k`."""
        chosen = torch.arange(k * self.images, (k + 1) * self.images)
        enthalpy = (self.state.enthalpy[chosen] / self.state.batch.counts[chosen]).numpy()
        climbing = forces.climbing[k].nonzero().flatten().tolist()
        return Band(
            self.state.batch.select(chosen).to_atoms(), enthalpy, float(forces.largest[k]), int(self.state.steps[chosen[0]]), converged,
            tuple(climbing),
        )  # fmt: skip


def bands(
    paths: Sequence[Path], potential: Potential, settings: BarrierSettings, pressure: float = 0.0, progress: Progress = silent
) -> list[Band | None]:
    """Optimise bands between their ends, which are kept.

    Args:
        paths: starting paths with the same number of images, of any numbers of atoms.
        potential: potential or committee, whose mean is the surface.
        settings: settings of barriers.
        pressure: external pressure, eV/Å³.
        progress: called with a `Step` when bands finish.

    Returns:
        For each path its band; None: a number was not finite, or forces or strains grew beyond all limits.

    Raises:
        BadInput: the potential does not support an element.
    """
    result: list[Band | None] = [None] * len(paths)
    if not paths:
        return result
    running = _Bands(paths, CommitteeSurface(potential), pressure, settings.spring)
    under_way = torch.arange(len(paths))
    climbs = torch.zeros(len(paths), dtype=torch.bool)
    for step in range(settings.max_steps + 1):
        forces = running.forces(climbs)
        settled = (forces.largest < settings.fmax) & climbs
        broken = running.broken(forces.largest)
        ended = settled | broken | (step == settings.max_steps)
        for k in ended.nonzero().flatten().tolist():
            if not bool(broken[k]):
                result[int(under_way[k])] = running.band(k, forces, bool(settled[k]))
        kept = (~ended).nonzero().flatten()
        climbs = climbs | (forces.largest < WARM_FORCE * settings.fmax) | (step >= WARM_STEPS)
        if bool(ended.any()):
            if len(kept) == 0:
                break
            running.keep(kept)
            under_way, climbs = under_way[kept], climbs[kept]
            forces = running.forces(climbs)
        # Long optimisations report at every step, so that an interrupt is noticed.
        progress(Step("bands", len(paths) - len(under_way), len(paths)))
        running.move(forces.rows)
    progress(Step("bands", len(paths), len(paths)))
    return result
