"""Sorted values of a structure as a profile that does not depend on the size of its cell.

The values of N atoms in descending order are the steps of a function of x = rank / N. In a supercell every value is repeated and N is
larger by the same factor, so the function is the same. It is averaged over bins of fixed width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sorted_profiles(values: Tensor, structure: Tensor, counts: Tensor, reach: float, bins: int) -> Tensor:
    """Return the profile of each structure.

    Args:
        values: (n_values,) values that are not negative.
        structure: (n_values,) index of the structure of each value.
        counts: (n_structures,) number by which the ranks are divided.
        reach: largest x = rank / count of the profile.
        bins: number of bins.

    Returns:
        (n_structures, bins) means over the bins, scaled by the root of the bin width, so that the Euclidean distance of two profiles does
        not depend on the number of bins.
    """
    order = torch.argsort(values, descending=True, stable=True)
    order = order[torch.argsort(structure[order], stable=True)]
    owner, sorted_values = structure[order], values[order]
    number = torch.bincount(owner, minlength=len(counts))
    starts = torch.cumsum(number, 0) - number
    rank = torch.arange(len(owner), device=values.device) - starts[owner]
    width = reach / bins
    step = (1 / counts.clamp_min(1).to(values.dtype))[owner] / width
    low, high = (rank * step).clamp_max(bins), ((rank + 1) * step).clamp_max(bins)
    # The integral of the step function up to the edge of a bin: whole steps before it and a part of the step that contains it.
    profile = values.new_zeros(len(counts) * (bins + 1))
    first = low.floor().long()
    most = int((high.ceil().long() - first).max()) if len(owner) else 0
    for offset in range(most):
        cell = first + offset
        inside = (torch.minimum(high, cell + 1.0) - torch.maximum(low, cell.to(low.dtype))).clamp_min(0)
        profile.index_add_(0, owner * (bins + 1) + cell.clamp_max(bins), inside * sorted_values)
    result: Tensor = profile.view(len(counts), bins + 1)[:, :bins] * width**0.5
    return result
