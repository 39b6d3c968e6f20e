"""Prediction of a many-body committee with the graph that its training needs, by the kernels of the fused evaluation.

Two operations are not those of torch: the invariants, which are differentiated twice (forces, then the slope of their error), and the
conversion of the gradient with respect to the atomic basis to forces, which is linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.potentials.base import Prediction
from nucleate.potentials.basis import L_MAX, N_LM
from nucleate.potentials.fused.committee import assemble, wall_reach
from nucleate.potentials.fused.invariants import KINDS, invariant_curvature, invariant_slopes, invariants
from nucleate.potentials.fused.surroundings import BatchArrays, Surroundings

if TYPE_CHECKING:
    from nucleate.potentials.manybody import ManyBodyCommittee

ORDERS = [2 * l + 1 for l in range(L_MAX + 1)]
"""Number of harmonics of each degree."""


def graph_prediction(model: ManyBodyCommittee, batch: CrystalBatch, edges: Edges) -> Prediction:
    """Predict energies, forces and stresses of every member, with the graph for derivatives with respect to the weights.

    Args:
        model: a committee in single precision on the CPU.
        batch, edges: structures and neighbour list.
    """
    with torch.no_grad():
        kind = model.species_index[batch.numbers]
        arrays = BatchArrays(batch, edges, kind)
        shape = (model.members, arrays.n_atoms, 3), (model.members, arrays.n_structures, 3, 3)
    with torch.enable_grad():
        near: list[np.ndarray] = []
        parts, where, forces, virials = [], [], [], []
        for species in range(len(model.species)):
            chosen = (kind == species).nonzero().flatten()
            if not len(chosen):
                continue
            around = Surroundings(arrays, chosen, model.settings.radial, model.cutoff)
            near.append(around.closer_than(wall_reach(model)))
            energy, gradient = _energy_gradient(model, around.basis(len(model.species)), species)
            force, virial = _Forces.apply(gradient, around, shape)  # type: ignore[no-untyped-call]
            parts.append(energy)
            where.append(chosen)
            forces.append(force)
            virials.append(virial)
        atomic = torch.cat(parts, dim=1)[:, torch.argsort(torch.cat(where))]
        return assemble(model, batch, edges, atomic, torch.stack(forces).sum(0), torch.stack(virials).sum(0), near)


def _energy_gradient(model: ManyBodyCommittee, basis: Tensor, species: int) -> tuple[Tensor, Tensor]:
    """Return energies (m, n) of atoms of one species and dE/dA_0 (m, 16, n, s, k), both in eV, from their basis (16, n, s, k)."""
    m, n = model.members, basis.shape[1]
    flat = basis.view(N_LM, n, -1)
    weights = model.mixing[species].unbind()
    # One product mixes the basis for all members, which share it.
    mixed = torch.cat([rows @ w.transpose(0, 1).flatten(1) for rows, w in zip(flat.split(ORDERS), weights, strict=True)])
    features: Tensor = _Invariants.apply(mixed, m)  # type: ignore[no-untyped-call]
    energy = model.from_features(features, species) * model.energy_scale
    (slopes,) = torch.autograd.grad(energy.sum(), mixed, create_graph=True)
    by_member = slopes.view(N_LM, n, m, -1).permute(2, 0, 1, 3).split(ORDERS, dim=1)
    gradient = torch.cat(
        [(rows.flatten(1, 2) @ w.transpose(1, 2)).view(m, -1, n, flat.shape[2]) for rows, w in zip(by_member, weights, strict=True)], dim=1
    )
    return energy, gradient.view(m, *basis.shape)


class _Invariants(torch.autograd.Function):
    """(m, n, 6 c) invariants of the (16, n, m * c) mixed basis."""

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, members: int) -> Tensor:
        ctx.save_for_backward(mixed)
        ctx.shape = (members, mixed.shape[1], KINDS, mixed.shape[2] // members)
        result = torch.empty(ctx.shape)
        invariants(mixed.detach().numpy(), result.numpy())
        return result.flatten(2)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        (mixed,) = ctx.saved_tensors
        slopes: Tensor = _Slopes.apply(mixed, upstream.reshape(ctx.shape))  # type: ignore[no-untyped-call]
        return slopes, None


class _Slopes(torch.autograd.Function):
    """(16, n, m * c) slopes from the mixed basis and the (m, n, 6, c) derivatives with respect to the invariants."""

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, upstream: Tensor) -> Tensor:
        upstream = upstream.contiguous()
        ctx.save_for_backward(mixed, upstream)
        result = torch.empty_like(mixed)
        invariant_slopes(mixed.detach().numpy(), upstream.detach().numpy(), result.numpy())
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor, Tensor]:
        mixed, upstream = ctx.saved_tensors
        change, along = torch.empty_like(mixed), torch.empty_like(upstream)
        invariant_curvature(mixed.numpy(), upstream.numpy(), direction.contiguous().numpy(), change.numpy(), along.numpy())
        return change, along


class _Forces(torch.autograd.Function):
    """Forces (m, n_atoms, 3) and strain derivatives (m, n_structures, 3, 3) from dE/dA_0 of some atoms."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, around: Surroundings, shape: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[Tensor, Tensor]:
        ctx.around, ctx.species = around, gradient.shape[3]
        # Strain derivatives are in double precision, as in predictions without a graph, which use the same compiled kernel.
        forces, virial = torch.zeros(shape[0]), torch.zeros(shape[1], dtype=torch.float64)
        around.add_forces(gradient.detach().contiguous(), forces, virial)
        return forces, virial

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, forces: Tensor, virial: Tensor) -> tuple[Tensor, None, None]:
        return ctx.around.transposed(forces.contiguous(), virial.float().contiguous(), ctx.species), None, None
