"""Training by damped Gauss-Newton steps, for few labels that a trained model must reproduce closely.

With the residuals r of all labels, weighted such that the loss is their squared norm, and their derivatives J with respect to the weights
of the model, a step is the change of the weights

    d = -J^T (J J^T + damping)^-1 r,

the smallest one that lowers the linearised residuals (K. Levenberg, Q. Appl. Math. 2, 164 (1944), doi 10.1090/qam/10666; D. W. Marquardt,
J. Soc. Ind. Appl. Math. 11, 431 (1963), doi 10.1137/0111030). A few steps do what gradient descent does in thousands, because the weights
that a few force constants depend on are badly conditioned. The matrix has as many rows as there are labels, not weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nucleate.crystals.strain import voigt_from_full
from nucleate.errors import BadInput
from nucleate.potentials.base import Prediction
from nucleate.potentials.registry import Trainable
from nucleate.progress import Progress, Step, silent
from nucleate.training.batches import LabelledSet, Minibatch
from nucleate.training.fitting import errors_on, structure_weights
from nucleate.training.labelled import LabelledStructure
from nucleate.training.loss import Errors
from nucleate.training.settings import FitSettings

FIRST_DAMPING = 1e-5
"""Damping of the first step, relative to the mean diagonal element of J J^T."""
EASE, STIFFEN = 0.2, 10.0
"""Factors of the damping after a step that lowered the loss of a member, and after one that did not and is taken back."""
PROJECTIONS = 2
"""Number of random combinations of the components of a structure."""
DAMPINGS = (1e-9, 1e6)
"""Smallest and largest damping."""


def fit_closely(
    model: Trainable,
    near: Sequence[LabelledStructure],
    others: Sequence[LabelledStructure],
    settings: FitSettings,
    steps: int,
    progress: Progress = silent,
) -> Errors:
    """Train a model in place by Gauss-Newton steps from its weights; each member has a damping of its own.

    Args:
        model: a model that has been trained before.
        near: labels that the model must reproduce closely, each component of which is a row of J.
        others: labels that it must not forget; each structure has `PROJECTIONS` random combinations of its components as rows of J, drawn
            anew in every step, so that the time of a step grows little with their number.
        settings: settings of the training, of which the seed, the weights of the loss and the weights of the structures apply.
        steps: number of steps.
        progress: called with a `Step` after each structure.

    Returns:
        Errors of the committee's mean on `near`.

    Raises:
        BadInput: there are no labelled structures.
    """
    if not near:
        raise BadInput("no labelled structures to train on")
    data = [*near, *others]
    labelled = LabelledSet(data, model.cutoff, structure_weights(data, model.members, settings), "cpu")
    parameters: list[Tensor] = [parameter for parameter in model.parameters() if parameter.requires_grad]
    owners = _owners(model, parameters, labelled)
    damping = torch.full((model.members,), FIRST_DAMPING, dtype=torch.float64)
    best = _losses(model, labelled, settings)
    for step in range(steps):
        draw = torch.Generator().manual_seed((settings.seed + step) % 2**63)
        rows: list[Tensor] = []
        residuals: list[Tensor] = []
        for k in range(len(labelled)):
            part = labelled.take([k])
            own = _residuals(model.energy_forces_stress(part.batch, part.edges, create_graph=True), part, settings)
            if k >= len(near):
                signs = torch.randint(0, 2, (own.shape[1], PROJECTIONS), generator=draw, dtype=own.dtype) * 2 - 1
                own = own @ signs / PROJECTIONS**0.5
            for j in range(own.shape[1]):
                # Members have no common weights, so that the gradient of their sum contains those of all of them.
                gradient = torch.autograd.grad(own[:, j].sum(), parameters, retain_graph=True, allow_unused=True)
                flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
                rows.append(torch.cat([g.flatten() for g in flat]))
            residuals.append(own.detach())
            progress(Step("training", step * len(labelled) + k + 1, steps * len(labelled)))
        jacobian, residual = torch.stack(rows), torch.cat(residuals, dim=1).double()
        before = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
        change = torch.zeros_like(before)
        for m in range(model.members):
            mine = owners == m
            own_rows = jacobian[:, mine].double()
            gram = own_rows @ own_rows.T
            gram.diagonal().add_(damping[m] * gram.diagonal().mean())
            change[mine] = -(own_rows.T @ torch.linalg.solve(gram, residual[m])).to(change.dtype)
        torch.nn.utils.vector_to_parameters(before + change, parameters)
        reached = _losses(model, labelled, settings)
        worse = ~(reached < best)
        if worse.any():
            change[torch.isin(owners, worse.nonzero().flatten())] = 0.0
            torch.nn.utils.vector_to_parameters(before + change, parameters)
        best = torch.where(worse, best, reached)
        damping = (damping * torch.where(worse, STIFFEN, EASE)).clamp(*DAMPINGS)
    return errors_on(model, labelled, range(len(near)))


def _residuals(prediction: Prediction, data: Minibatch, settings: FitSettings) -> Tensor:
    """Return the (m, n) weighted residuals of one structure, whose squared sum is its loss; see `loss.squares`."""
    count = int(data.batch.counts[0])
    energy = (prediction.energy - data.energy) / count * settings.energy_weight**0.5
    parts = [energy]
    if data.has_forces[0]:
        parts.append(((prediction.forces - data.forces) * (settings.force_weight / (3 * count)) ** 0.5).flatten(1))
    if data.has_stress[0]:
        difference = voigt_from_full(prediction.stress - data.stress)[:, 0] * (data.batch.volumes[0] / count)
        # Shears occur twice in the tensor.
        doubled = difference.new_tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]).sqrt()
        parts.append(difference * doubled * (settings.stress_weight / 9) ** 0.5)
    return torch.cat(parts, dim=1) * data.weight.sqrt()


def _losses(model: Trainable, labelled: LabelledSet, settings: FitSettings) -> Tensor:
    """Return the (m,) sum of the squared residuals of each member."""
    total = torch.zeros(model.members, dtype=torch.float64)
    for k in range(len(labelled)):
        part = labelled.take([k])
        own = _residuals(model.energy_forces_stress(part.batch, part.edges), part, settings)
        total += (own.detach().double() ** 2).sum(1)
    return total


def _owners(model: Trainable, parameters: list[Tensor], labelled: LabelledSet) -> Tensor:
    """Return the member to which each weight belongs, found from the derivatives of the energies; -1 for weights without effect."""
    owners = torch.full((sum(p.numel() for p in parameters),), -1)
    part = labelled.take(range(min(len(labelled), 8)))
    energy = model.energy_forces_stress(part.batch, part.edges, create_graph=True).energy.sum(1)
    for m in range(model.members):
        gradient = torch.autograd.grad(energy[m], parameters, retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradient, strict=True)]
        owners[torch.cat([g.flatten() for g in flat]) != 0] = m
    return owners
