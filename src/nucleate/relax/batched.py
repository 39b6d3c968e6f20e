"""Batched relaxation: each structure has its own stopping criterion, and finished structures are replaced by waiting ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.checks import FLATTEST, vacuum
from nucleate.crystals.dimensions import is_cluster
from nucleate.crystals.layers import HEIGHT
from nucleate.crystals.neighbours import SkinNeighbours
from nucleate.errors import InputNote
from nucleate.potentials.base import Potential
from nucleate.progress import Progress, Step, silent
from nucleate.relax.learned.files import load_policy
from nucleate.relax.learned.optimiser import LearnedMoves
from nucleate.relax.optimisers import Fire, Lbfgs, Optimiser
from nucleate.relax.settings import RelaxSettings
from nucleate.relax.state import Evaluation, State, Surface, evaluate, free_strain, start
from nucleate.relax.symmetry import KeptSymmetry
from nucleate.units import GPA

CONVERGED, UNCERTAIN, STALLED, EXPLODED, COLLAPSED, OUT_OF_STEPS = (
    "converged",
    "uncertain",
    "stalled",
    "exploded",
    "collapsed",
    "out of steps",
)
DENSE = 3.0
"""Vacuum of a cell without periodic directions below which its structure may be meant as a crystal, Å."""
LESS_KNOWN = 1.5
"""Growth of the uncertainty, relative to the initial structure, above which a relaxation may stop as `uncertain`."""
MOST_FORCE = 1e4
"""Largest force on an atom, eV/Å; a larger one stops the relaxation as `exploded`."""
_STOPS = (CONVERGED, UNCERTAIN, STALLED, EXPLODED, COLLAPSED, OUT_OF_STEPS)


@dataclass(frozen=True)
class Relaxed:
    """Result of a relaxation.

    Attributes:
        atoms: the last geometry. It is meaningless if the relaxation exploded or collapsed.
        energy: enthalpy of the cell, eV.
        sigma: uncertainty of the energy, eV/atom.
        fmax: largest force on an atom, eV/Å.
        stop: one of `converged`, `uncertain`, `stalled`, `exploded`, `collapsed`, `out of steps`.
        steps: steps taken.
        guard: why the relaxation stopped as `exploded` or `collapsed`; empty otherwise.
    """

    atoms: Atoms
    energy: float
    sigma: float
    fmax: float
    stop: str
    steps: int
    guard: str = ""

    @property
    def usable(self) -> bool:
        """Whether the final structure neither exploded nor collapsed and has a finite energy."""
        return self.stop not in (EXPLODED, COLLAPSED) and math.isfinite(self.energy)

    @property
    def energy_per_atom(self) -> float:
        """Enthalpy per atom, eV."""
        return self.energy / len(self.atoms)


class CommitteeSurface:
    """Energy surface of the mean of a committee, with its calibrated standard deviation as uncertainty.

    The object keeps the neighbour list of the current batch.

    Args:
        potential: a potential or committee.
        sigma_factor: calibration factor of the committee's standard deviation.
        skin: skin of the neighbour list, Å.
    """

    def __init__(self, potential: Potential, sigma_factor: float = 1.0, skin: float = 0.4):
        self.potential = potential
        self.sigma_factor = sigma_factor
        self.neighbours = SkinNeighbours(potential.cutoff, skin)
        self._edges: object | None = None
        self._layout: object | None = None

    def __call__(self, batch: CrystalBatch) -> Evaluation:
        """Return energy, forces, stress and uncertainty of a batch."""
        edges = self.neighbours.update(batch)
        if edges is not self._edges:
            self._edges, self._layout = edges, self.potential.layout(batch, edges)
        # The optimiser needs only the mean forces of the committee.
        prediction = self.potential.energy_forces_stress(batch, edges, self._layout, mean_forces=True)
        return Evaluation(
            prediction.energy.mean(0),
            prediction.forces.mean(0),
            prediction.stress.mean(0),
            self.sigma_factor * prediction.energy_sigma(batch),
        )


def _warn_of_dense_boxes(structures: Sequence[Atoms]) -> None:
    """Issue an `InputNote` for structures without periodic directions whose cell has no vacuum: their authors may mean crystals."""
    for number, atoms in enumerate(structures):
        if is_cluster(atoms) and atoms.cell.rank == 3 and min(vacuum(atoms, axis) for axis in range(3)) < DENSE:
            text = "pbc is F along all lattice vectors, so that the cell is kept; set pbc to T for a crystal"
            warnings.warn(InputNote(f"structure {number}: {text}"), stacklevel=3)
            return


def make_optimiser(settings: RelaxSettings, device: torch.device | str = "cpu") -> Optimiser:
    """Return the optimiser that the settings name.

    Raises:
        BadInput: the file of learned moves cannot be read, see `load_policy`.
    """
    if settings.policy_file is not None:
        policy, _ = load_policy(settings.policy_file)
        return LearnedMoves(policy.to(device), maxstep=settings.maxstep, history=settings.history)
    if settings.optimiser == "fire":
        return Fire(maxstep=settings.maxstep)
    return Lbfgs(maxstep=settings.maxstep, history=settings.history, curvature=settings.curvature)


def relax(
    structures: Sequence[Atoms],
    potential: Potential,
    settings: RelaxSettings | None = None,
    sigma_factor: float = 1.0,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
) -> list[Relaxed]:
    """Relax structures in batches.

    Args:
        structures: starting points, any mixture of sizes. The cells of layers (pbc T, T, F) are relaxed in their plane, those of clusters
            (pbc F, F, F) not at all.
        potential: a potential or committee.
        settings: see `RelaxSettings`.
        sigma_factor: calibration factor of the committee's standard deviation.
        progress: called with a `Step` when structures finish.
        device: device of the optimiser and the potential.

    Returns:
        One `Relaxed` per structure, in order.

    Raises:
        BadInput: the file of learned moves cannot be read.
    """
    settings = settings or RelaxSettings()
    _warn_of_dense_boxes(structures)
    surface = CommitteeSurface(potential, sigma_factor)
    kept = KeptSymmetry(structures) if settings.keep_symmetry else None
    structures = structures if kept is None else kept.structures
    optimiser = make_optimiser(settings, device)
    pressure = settings.pressure * GPA
    results: list[Relaxed | None] = [None] * len(structures)
    # Structures are sorted by size, so that those of a batch take similar time.
    waiting = sorted(range(len(structures)), key=lambda k: len(structures[k]))
    under_way: list[int] = []
    state: State | None = None
    best = torch.zeros(0, dtype=torch.float64, device=device)
    since = torch.zeros(0, dtype=torch.int64, device=device)
    volume0 = torch.zeros(0, dtype=torch.float64, device=device)
    sigma0 = torch.zeros(0, dtype=torch.float64, device=device)
    while waiting or under_way:
        room = settings.capacity - sum(len(structures[k]) for k in under_way)
        fresh: list[int] = []
        # Adding structures requires a new neighbour layout, so structures are added only when a tenth of the batch is free.
        if waiting and (not under_way or room >= 0.1 * settings.capacity):
            while waiting and (len(structures[waiting[0]]) <= room or not (under_way or fresh)):
                fresh.append(waiting.pop(0))
                room -= len(structures[fresh[-1]])
        if fresh:
            added = CrystalBatch.from_atoms([structures[k] for k in fresh], device=device)
            added = replace(added, ids=torch.tensor(fresh, device=device))
            if state is not None:
                surface.neighbours.keep(torch.arange(len(under_way)), state.batch, len(fresh))
            # New structures are first evaluated with a separate neighbour list, without those that are already in the batch.
            alone = _symmetric(CommitteeSurface(potential, sigma_factor, skin=0.0), kept)
            newcomers = optimiser.init(start(added, alone, pressure, settings.variable_cell))
            state = newcomers if state is None else State.concatenate(state, newcomers)
            best = torch.cat([best, newcomers.enthalpy])
            since = torch.cat([since, torch.zeros(len(fresh), dtype=torch.int64, device=device)])
            volume0 = torch.cat([volume0, added.volumes])
            sigma0 = torch.cat([sigma0, newcomers.sigma])
            under_way += fresh
        assert state is not None
        stop, best, since = _judge(state, best, since, volume0, sigma0, settings)
        if bool((stop >= 0).any()):
            ended = (stop >= 0).nonzero().flatten()
            _collect(state, ended, stop, under_way, results, volume0, settings)
            left = (stop < 0).nonzero().flatten()
            surface.neighbours.keep(left, state.batch, 0)
            under_way = [under_way[k] for k in left.tolist()]
            best, since, volume0, sigma0 = best[left], since[left], volume0[left], sigma0[left]
            state = state.select(left) if len(left) else None
            progress(Step("relaxing", sum(result is not None for result in results), len(structures)))
            if state is None:
                surface.neighbours.reset()
                continue
        state = evaluate(optimiser.move(state), _symmetric(surface, kept), pressure, settings.variable_cell)
    return [result for result in results if result is not None]


def _symmetric(surface: Surface, kept: KeptSymmetry | None) -> Surface:
    """Return a surface that keeps the symmetry of the structures, if it is kept."""
    return surface if kept is None else kept.averaged(surface)


def _judge(
    state: State, best: Tensor, since: Tensor, volume0: Tensor, sigma0: Tensor, settings: RelaxSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each structure the index of its stop reason in `_STOPS` (-1 to continue), its lowest enthalpy, and its idle steps."""
    counts = state.batch.counts
    progress = state.enthalpy < best - settings.progress * counts
    best = torch.minimum(best, torch.nan_to_num(state.enthalpy, nan=torch.inf))
    since = torch.where(progress, torch.zeros_like(since), since + 1)
    fmax = state.largest_force()
    identity = torch.eye(3, dtype=state.stress.dtype, device=state.stress.device)
    residual = ((state.stress + settings.pressure * GPA * identity) * free_strain(state.batch)).abs().amax((1, 2))
    # The stress of a layer refers to a fixed height, since that of its cell depends on the vacuum.
    residual = torch.where(state.batch.periodic == 2, residual * state.batch.cells[:, 2].norm(dim=1) / HEIGHT, residual)
    settled = fmax <= settings.fmax
    if settings.variable_cell:
        settled &= residual <= settings.smax * GPA
    volume = state.batch.volumes / volume0
    low, high = settings.volume_range
    finite = torch.isfinite(state.enthalpy) & torch.isfinite(fmax) & torch.isfinite(residual)
    exploded = ~finite | (fmax > MOST_FORCE) | (volume > high) | (_flatness(state.batch.cells) < FLATTEST)
    reasons = {EXPLODED: exploded, COLLAPSED: volume < low, CONVERGED: settled}
    if settings.sigma_stop is not None:
        # Random cells have a large uncertainty from the start, so a relaxation stops only if its uncertainty has also grown.
        reasons[UNCERTAIN] = (state.sigma > settings.sigma_stop) & (state.sigma > LESS_KNOWN * sigma0)
    reasons |= {STALLED: since >= settings.patience, OUT_OF_STEPS: state.steps >= settings.max_steps}
    stop = torch.full_like(state.steps, -1)
    # The first reason that applies is the one that is reported, so it is written last.
    for reason, where in reversed(reasons.items()):
        stop = stop.masked_fill(where, _STOPS.index(reason))
    return stop, best, since


def _flatness(cells: Tensor) -> Tensor:
    """Return the (n,) smallest distance between lattice planes across a cell vector, Å; NaN for a cell without volume."""
    result: Tensor = 1 / torch.linalg.inv_ex(cells).inverse.norm(dim=1).amax(1)
    return result


def _guard(state: State, k: int, volume0: Tensor, settings: RelaxSettings) -> str:
    """Return why structure `k` exploded or collapsed."""
    fmax, volume = float(state.largest_force()[k]), float(state.batch.volumes[k] / volume0[k])
    low, high = settings.volume_range
    flat = float(_flatness(state.batch.cells)[k])
    if not math.isfinite(float(state.enthalpy[k])) or not math.isfinite(fmax):
        return "energy or a force is not a finite number"
    if fmax > MOST_FORCE:
        return f"a force is {fmax:.3g} eV/Å, above the limit of {MOST_FORCE:g} eV/Å"
    if volume > high:
        return f"the volume is {volume:.2f} times the initial one; relax.volume_range allows {high:g}"
    if volume < low:
        return f"the volume is {volume:.2f} times the initial one; relax.volume_range allows {low:g}"
    return f"lattice planes are {flat:.2g} Å apart, below the limit of {FLATTEST:g} Å"


def _collect(
    state: State,
    ended: Tensor,
    stop: Tensor,
    under_way: list[int],
    results: list[Relaxed | None],
    volume0: Tensor,
    settings: RelaxSettings,
) -> None:
    """Write the results of the structures `ended` to `results`."""
    fmax = state.largest_force().cpu().numpy()
    for k, atoms in zip(ended.tolist(), state.batch.select(ended).to_atoms(), strict=True):
        results[under_way[k]] = Relaxed(
            atoms,
            float(state.enthalpy[k]),
            float(state.sigma[k]),
            float(fmax[k]) if np.isfinite(fmax[k]) else float("inf"),
            _STOPS[int(stop[k])],
            int(state.steps[k]),
            _guard(state, k, volume0, settings) if _STOPS[int(stop[k])] in (EXPLODED, COLLAPSED) else "",
        )
