"""Diagnostics of a training: weights, gradient noise, and contributions of the species to energy differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase.data import chemical_symbols
from torch import Tensor

from nucleate.potentials.registry import Learned, Trainable
from nucleate.training.batches import Minibatch

BINS = 30
"""Number of bins of a histogram."""


def histograms(model: Trainable) -> dict[str, dict[str, Any]]:
    """Return histograms of the weights and biases of every layer: counts, lowest and highest value, mean and standard deviation."""
    result = {}
    for name, parameter in model.named_parameters():
        values = parameter.detach().double().cpu().numpy().ravel()
        counts, edges = np.histogram(values, BINS)
        result[name] = {
            "counts": counts.tolist(),
            "low": float(edges[0]),
            "high": float(edges[-1]),
            "mean": float(values.mean()),
            "std": float(values.std()),
        }
    return result


def noise_scale(first: list[Tensor], second: list[Tensor], size: int) -> tuple[float, float]:
    """Estimate |G|^2 and the trace of the gradient's covariance over structures from the gradients of two halves of a minibatch.

    With gradients g1 and g2 of b structures each, |G|^2 = g1.g2 and tr S = b |g1 - g2|^2 / 2. The noise scale tr S / |G|^2 is the batch
    size above which larger batches have little effect: S. McCandlish et al., arXiv:1812.06162. Both estimates are unbiased; average them
    before dividing.

    Args:
        first, second: gradients of the mean loss of the two halves.
        size: number of structures in a half.

    Returns:
        |G|^2 and tr S.
    """
    dot = sum(float((a.double() * b.double()).sum()) for a, b in zip(first, second, strict=True))
    apart = sum(float(((a - b).double() ** 2).sum()) for a, b in zip(first, second, strict=True))
    return dot, 0.5 * size * apart


def informants(model: Learned, parts: list[Minibatch]) -> dict[str, float]:
    """Return the share of each species in the variance of the energy per atom over structures; the shares add up to 1.

    The energy per atom e is the sum over species of e_z, the energies of the atoms of a species divided by the number of all atoms, and
    share_z = cov(e_z, e) / var(e). A negative share means that e_z is anticorrelated with e. The result is empty if the energies are equal
    or the family has no atomic energies.
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
