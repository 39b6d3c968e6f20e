"""Diagnostics of a training besides the loss: weights, gradient noise, and contributions of species to energy differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from torch import Tensor

from nucleate.potentials.registry import Learned, Trainable
from nucleate.training.batches import Minibatch

BINS = 30


def histograms(model: Trainable) -> dict[str, dict[str, Any]]:
    """Histograms of the weights and biases of every layer: counts, lowest and highest value, mean, standard deviation."""
    said = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().double().cpu().numpy().ravel()
        counts, edges = np.histogram(values, BINS)
        said[name] = {
            "counts": counts.tolist(),
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "mean": float(values.mean()),
            "std": float(values.std()),
        }
    return said


def noise_scale(first: list[Tensor], second: list[Tensor], size: int) -> tuple[float, float]:
    """|G|^2 and the trace of the gradient's covariance over structures, from the gradients of two halves of a minibatch.

    With g1 and g2 of b structures each: |G|^2 = g1.g2 and tr S = b |g1 - g2|^2 / 2; the noise scale is tr S / |G|^2, the batch beyond
    which more structures a step bring little. S. McCandlish et al., arXiv:1812.06162. Each is an unbiased guess: average both
    before dividing.

    Args:
        first, second: gradients of the mean loss of either half.
        size: structures in a half.
    """
    dot = sum(float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True))
    apart = sum(float(((a - b).double() ** 2).sum()) for a, b in zip(first, second, strict=True))
    return dot, 0.5 * size * apart


def informants(model: Learned, parts: list[Minibatch]) -> dict[str, float]:
    """Share of each species in the variance of total energies per atom between structures; the shares add up to 1.

    The energy per atom e is the sum over species of e_z, its atoms' energies over all atoms: share_z = cov(e_z, e) / var(e). A negative
    share works against the others. Empty where energies do not differ or the family has no atomic energies.
    """
    rows = []
    for data in parts:
        energies = model.mean_atomic_energies(data.batch, data.edges)
        if energies is None:
            return {}
        kind = model.species_index[data.batch.numbers]
        counts = data.batch.counts
        table = energies.new_zeros(len(data.batch), len(model.species))
        table.index_put_((data.batch.structure, kind), energies / counts[data.batch.structure], accumulate=True)
        rows.append(table.double().cpu().numpy())
    every = np.concatenate(rows)
    total = every.sum(1)
    variance = float(total.var())
    if variance < 1e-16:
        return {}
    shares = ((every - every.mean(0)) * (total - total.mean())[:, None]).mean(0) / variance
    return {chemical_symbols[z]: float(share) for z, share in zip(model.species, shares, strict=True)}
