"""Training of the committee on energies, forces and stresses, all members in one pass.

The atomic basis and its derivatives along every edge do not depend on the weights: they are stored for a minibatch,
and forces are a linear map of dE/dA_0, so training never differentiates twice through the edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges, neighbour_edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import BadInput
from nucleate.potentials.edge_basis import EdgeBasis
from nucleate.potentials.manybody import ManyBodyCommittee
from nucleate.potentials.settings import TrainingSettings
from nucleate.reference.base import Label

RESHUFFLE_EPOCHS = 6


@dataclass(frozen=True)
class LabelledBatch:
    """Structures with their targets; the wall is already taken off the targets.

    Attributes:
        batch, edges, vectors, basis: geometry and stored basis.
        energy: (n,) per atom, without shifts and wall, eV/atom.
        forces: (n_atoms, 3), without wall.
        virial: (n, 3, 3), stress times volume per atom without wall, eV/atom.
        weight: (m, n) of each member on each structure.
    """

    batch: CrystalBatch
    edges: Edges
    vectors: Tensor
    basis: EdgeBasis
    energy: Tensor
    forces: Tensor
    virial: Tensor
    weight: Tensor


@dataclass(frozen=True)
class TrainingReport:
    """Errors on the training labels after training, committee mean, unweighted.

    Attributes:
        steps: optimiser steps done.
        energy_rmse: eV/atom.
        force_rmse: eV/Å.
        stress_rmse: eV/Å³.
    """

    steps: int
    energy_rmse: float
    force_rmse: float
    stress_rmse: float


def train(
    model: ManyBodyCommittee,
    structures: Sequence[Atoms],
    labels: Sequence[Label],
    settings: TrainingSettings,
    seed: int,
    warm: bool,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainingReport:
    """Train in place.

    Args:
        model: the committee; `warm` continues from its weights, else scales and shifts are set first.
        structures, labels: what the reference said.
        settings: see `TrainingSettings`.
        seed: decides minibatches and bootstrap weights; a label keeps its weights when more labels follow it.
        warm: continue a trained model.
        on_step: called with (step, steps).

    Raises:
        BadInput: no labels, or labels that are not finite.
    """
    if not structures:
        raise BadInput("no labelled structures to train on")
    for number, label in enumerate(labels):
        if not (math.isfinite(label.energy) and np.isfinite(label.forces).all() and np.isfinite(label.stress).all()):
            raise BadInput(f"label {number + 1} holds a number that is not finite; remove it from the training data")
    if not warm:
        _set_shifts_and_scale(model, structures, labels)
    weights = _structure_weights(model, structures, labels, settings, seed)
    if not warm:
        standardise(model, structures)
    steps = settings.warm_steps if warm else settings.steps
    rate = settings.warm_learning_rate if warm else settings.learning_rate
    parameters: list[Tensor] = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda k: min(1.0, (k + 1) / 20) * 0.5 * (1 + math.cos(math.pi * min(1.0, k / steps))) + 0.01
    )
    average: list[Tensor] = [parameter.detach().clone() for parameter in parameters]
    rng = np.random.default_rng([seed, len(structures)])
    stream = _minibatches(model, structures, labels, weights, settings, rng)
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss = _loss(model, next(stream), settings)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 10.0 * math.sqrt(model.settings.members))
        optimiser.step()
        schedule.step()
        # Early on the average follows closely, so that it forgets the random start.
        decay = min(settings.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(average, parameters, 1 - decay)
        if on_step is not None:
            on_step(step + 1, steps)
    with torch.no_grad():
        for parameter, kept in zip(parameters, average, strict=True):
            parameter.copy_(kept)
            parameter.grad = None
    return _report(model, structures, labels, steps)


def _set_shifts_and_scale(model: ManyBodyCommittee, structures: Sequence[Atoms], labels: Sequence[Label]) -> None:
    counts = np.array([[np.count_nonzero(a.numbers == z) for z in model.species] for a in structures], dtype=float)
    energies = np.array([label.energy for label in labels])
    batch = CrystalBatch.from_atoms(structures, device=model.points.device)
    edges = neighbour_edges(batch, model.cutoff)
    wall, _, _ = model.wall(batch, edges, edges.vectors(batch).to(model.dtype))
    per_atom = counts / counts.sum(1, keepdims=True)
    target = (energies - wall.double().cpu().numpy()) / counts.sum(1)
    # The lowest half decides: the shift should suit good structures, not crushed ones.
    low = target <= np.median(target)
    shift, *_ = np.linalg.lstsq(per_atom[low], target[low], rcond=1e-6)
    model.energy_shift.copy_(torch.as_tensor(shift))
    force = np.concatenate([label.forces for label in labels])
    spread = float(np.std(target - per_atom @ shift))
    model.energy_scale.fill_(float(np.clip(max(spread, np.sqrt(np.mean(force**2))), 0.2, 3.0)))


def _structure_weights(
    model: ManyBodyCommittee,
    structures: Sequence[Atoms],
    labels: Sequence[Label],
    settings: TrainingSettings,
    seed: int,
) -> Tensor:
    """(m, n): softening times bootstrap."""
    per_atom = np.array([label.energy / len(atoms) for atoms, label in zip(structures, labels, strict=True)])
    force = np.array([np.sqrt(np.mean(label.forces**2)) for label in labels])
    above = per_atom - np.quantile(per_atom, 0.05)
    soft = 1 / (1 + (force / settings.soften_force) ** 2)
    soft *= 1 / (1 + (np.maximum(above, 0) / settings.soften_energy) ** 2)
    members = model.settings.members
    weights = np.tile(soft, (members, 1))
    if settings.bootstrap and members > 1:
        # Bayesian bootstrap (Rubin, Ann. Statist. 9, 130 (1981), doi 10.1214/aos/1176345338), drawn label by label.
        draws = [np.random.default_rng([seed, k, 77]).exponential(size=members) for k in range(len(structures))]
        weights = weights * np.clip(np.stack(draws, axis=1), 0.1, 3.0)
    return torch.as_tensor(weights / weights.mean(), dtype=model.dtype, device=model.points.device)


def labelled_batch(model: ManyBodyCommittee, structures: Sequence[Atoms], labels: Sequence[Label], weight: Tensor) -> LabelledBatch:
    """Store geometry, basis and targets of some labelled structures."""
    device = model.points.device
    batch = CrystalBatch.from_atoms(structures, device=device)
    edges = neighbour_edges(batch, model.cutoff)
    with torch.no_grad():
        vectors = edges.vectors(batch).to(model.dtype)
        basis = model.edge_basis(vectors, model.layout(batch, edges, block_edges=6000))
        wall_e, wall_f, wall_w = model.wall(batch, edges, vectors)
    counts = batch.counts
    energy = torch.tensor([label.energy for label in labels], dtype=torch.float64, device=device)
    energy = (energy - model.shifts(batch) - wall_e.double()) / counts
    forces = torch.as_tensor(np.concatenate([label.forces for label in labels]), device=device)
    stress = full_from_voigt(torch.as_tensor(np.stack([label.stress for label in labels]), device=device))
    per_atom = counts.view(-1, 1, 1)
    virial = stress * batch.volumes.view(-1, 1, 1) / per_atom - 0.5 * (wall_w + wall_w.transpose(1, 2)) / per_atom
    return LabelledBatch(
        batch,
        edges,
        vectors,
        basis,
        energy.to(model.dtype),
        (forces - wall_f).to(model.dtype),
        virial.to(model.dtype),
        weight,
    )


def standardise(model: ManyBodyCommittee, structures: Sequence[Atoms]) -> None:
    """Set each member's feature mean and deviation from the atoms of these structures."""
    with torch.no_grad():
        batch = CrystalBatch.from_atoms(structures, device=model.points.device)
        edges = neighbour_edges(batch, model.cutoff)
        basis = model.edge_basis(edges.vectors(batch).to(model.dtype), model.layout(batch, edges, block_edges=6000))
        atomic = basis.atomic.view(1, len(batch.numbers), len(model.species), *basis.atomic.shape[1:])
        for index, z in enumerate(model.species):
            chosen = (batch.numbers == z).nonzero().flatten()
            if len(chosen) == 0:
                continue
            features = model.features(atomic[:, chosen], index)
            # A crushed cell must not set the scale: clip at a robust spread first.
            low, high = torch.quantile(features, 0.02, dim=1, keepdim=True), torch.quantile(features, 0.98, dim=1, keepdim=True)
            features = features.clamp(low, high)
            model.feature_mean[index] = features.mean(1, keepdim=True)
            model.feature_std[index] = features.std(1, keepdim=True, unbiased=False).clamp_min(1e-4)


def _minibatches(
    model: ManyBodyCommittee,
    structures: Sequence[Atoms],
    labels: Sequence[Label],
    weights: Tensor,
    settings: TrainingSettings,
    rng: np.random.Generator,
) -> Iterator[LabelledBatch]:
    size = settings.batch_structures
    n = len(structures)
    while True:
        order = rng.permutation(n)
        parts = np.array_split(order, max(1, round(n / size)))
        stored = [labelled_batch(model, [structures[k] for k in part], [labels[k] for k in part], weights[:, part]) for part in parts]
        for _ in range(RESHUFFLE_EPOCHS):
            for k in rng.permutation(len(stored)):
                yield stored[k]


def _loss(model: ManyBodyCommittee, data: LabelledBatch, settings: TrainingSettings) -> Tensor:
    batch = data.batch
    counts = batch.counts.to(model.dtype)
    atomic, gradient = model.energy_gradient(data.basis, batch.numbers, create_graph=True)
    energy = atomic.new_zeros(atomic.shape[0], len(batch)).index_add(1, batch.structure, atomic) / counts
    forces, virial = data.basis.forces_and_virial(gradient, batch, data.edges, data.vectors)
    virial = 0.5 * (virial + virial.transpose(-1, -2)) / counts.view(-1, 1, 1)
    force_error = ((forces - data.forces) ** 2).mean(-1)
    per_structure = force_error.new_zeros(energy.shape).index_add(1, batch.structure, force_error) / counts
    loss = (
        settings.energy_weight * (energy - data.energy) ** 2
        + settings.force_weight * per_structure
        + settings.stress_weight * ((virial - data.virial) ** 2).mean((-1, -2))
    )
    # Members do not share weights, so the sum over members trains each by itself.
    return (data.weight * loss).mean(1).sum()


def _report(model: ManyBodyCommittee, structures: Sequence[Atoms], labels: Sequence[Label], steps: int) -> TrainingReport:
    batch = CrystalBatch.from_atoms(structures, device=model.points.device)
    mean = model.energy_forces_stress(batch).mean()
    energy = torch.tensor([label.energy for label in labels], dtype=torch.float64, device=batch.positions.device)
    forces = torch.as_tensor(np.concatenate([label.forces for label in labels]), device=batch.positions.device)
    stress = full_from_voigt(torch.as_tensor(np.stack([label.stress for label in labels]), device=batch.positions.device))

    def rmse(difference: Tensor) -> float:
        return float((difference**2).mean().sqrt())

    return TrainingReport(
        steps,
        rmse((mean.energy[0] - energy) / batch.counts),
        rmse(mean.forces[0] - forces),
        rmse(mean.stress[0] - stress),
    )
