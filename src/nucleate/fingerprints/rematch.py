"""Regularised-entropy match (REMatch) of SOAP environments.

The kernel of two structures is the sum of P_ij C_ij, where C_ij is the kernel of two atoms and P the doubly stochastic matrix that
minimises sum P_ij (1 - C_ij + gamma ln P_ij): S. De, A. P. Bartók, G. Csányi and M. Ceriotti, Phys. Chem. Chem. Phys. 18, 13754 (2016),
doi 10.1039/C6CP00415F.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nucleate.errors import BadInput
from nucleate.fingerprints.base import Environments
from nucleate.fingerprints.soap import SoapEnvironments

TOLERANCE = 1e-7
"""Largest relative error of the row sums of P."""
MOST_STEPS = 5000
SMALLEST = 0.003
"""Smallest weight of the entropy for which exp(-1 / gamma) and its inverse are far from the limits of double precision."""
ELEMENTS = 4e6
"""Number of elements of the matrices that are matched at a time."""


def rematch(kernel: Tensor, rows: Tensor, columns: Tensor, gamma: float) -> Tensor:
    """Return the REMatch kernels of pairs of structures.

    Args:
        kernel: (p, n, m) kernels of the atoms, at most 1; values beyond the sizes of a pair are ignored.
        rows, columns: (p,) numbers of atoms of the two structures.
        gamma: weight of the entropy.

    Returns:
        (p,) kernels, not normalised.
    """
    p, n, m = kernel.shape
    here = (torch.arange(n) < rows.unsqueeze(1)).to(kernel.dtype)
    there = (torch.arange(m) < columns.unsqueeze(1)).to(kernel.dtype)
    result = kernel.new_zeros(p)
    # Pairs that have converged are removed from the iteration.
    left = torch.arange(p)
    weight = torch.exp((kernel - 1) / gamma) * here.unsqueeze(2) * there.unsqueeze(1)
    row_share, column_share = here / rows.unsqueeze(1), there / columns.unsqueeze(1)
    v = there
    for step in range(MOST_STEPS):
        u = row_share / torch.bmm(weight, v.unsqueeze(2)).squeeze(2).clamp_min(1e-300)
        v = column_share / torch.bmm(u.unsqueeze(1), weight).squeeze(1).clamp_min(1e-300)
        if step % 10 == 9 or step == MOST_STEPS - 1:
            sums = u * torch.bmm(weight, v.unsqueeze(2)).squeeze(2)
            done = ((sums - row_share).abs() <= TOLERANCE * row_share).all(1) | (step == MOST_STEPS - 1)
            if bool(done.any()):
                plan = u[done].unsqueeze(2) * weight[done] * v[done].unsqueeze(1)
                result[left[done]] = (plan * kernel[left[done]]).sum((1, 2))
                left, weight, v = left[~done], weight[~done], v[~done]
                row_share, column_share = row_share[~done], column_share[~done]
            if not len(left):
                break
    return result


class Rematch(SoapEnvironments):
    """SOAP environments compared by REMatch; the distance is sqrt(2 - 2 K) with the normalised kernel K.

    Args:
        species: see `Fingerprint`.
        gamma: weight of the entropy; for small values the match approaches the best assignment, for large values the average kernel.
        options: those of `SoapEnvironments`.

    Raises:
        BadInput: gamma is too small.
    """

    name: ClassVar[str] = "SOAP REMatch"

    def __init__(self, species: Sequence[int], gamma: float = 0.01, **options: float):
        super().__init__(species, **options)  # type: ignore[arg-type]
        if not gamma >= SMALLEST:
            raise BadInput(f"gamma {gamma:g} of REMatch: the smallest value is {SMALLEST:g}; use 'SOAP transport', the limit for 0")
        self.gamma = gamma

    def distances(self, one: Environments, other: Environments) -> np.ndarray:
        """Return the (n_one, n_other) distances."""
        own, theirs = self._kernels(one, one, paired=True), self._kernels(other, other, paired=True)
        both = self._kernels(one, other)
        kernel = both.view(len(one), len(other)) / torch.sqrt(own.unsqueeze(1) * theirs.unsqueeze(0))
        result: np.ndarray = torch.sqrt((2 - 2 * kernel).clamp_min(0)).numpy()
        return result

    def _kernels(self, one: Environments, other: Environments, paired: bool = False) -> Tensor:
        """Return the kernels of all pairs, or of each structure with itself."""
        a, b = _padded(one), _padded(other)
        rows, columns = torch.tensor(one.counts), torch.tensor(other.counts)
        if paired:
            first = second = torch.arange(len(one))
        else:
            first, second = (index.flatten() for index in torch.meshgrid(torch.arange(len(one)), torch.arange(len(other)), indexing="ij"))
        # Pairs of similar size are padded together.
        order = torch.argsort(rows[first] * columns[second], stable=True)
        first, second = first[order], second[order]
        kernels = torch.empty(len(order), dtype=torch.float64)
        start = 0
        while start < len(order):
            # The sizes ascend, so a look ahead by the number that would fit if all were as small as the first is an upper bound.
            fit = int(ELEMENTS // (rows[first[start]] * columns[second[start]])) + 1
            x, y = first[start : start + fit], second[start : start + fit]
            n, m = rows[x].cummax(0).values, columns[y].cummax(0).values
            fit = max(1, int((n * m * torch.arange(1, len(x) + 1) <= ELEMENTS).sum()))
            x, y = x[:fit], y[:fit]
            kernel = a[x, : int(rows[x].max())] @ b[y, : int(columns[y].max())].transpose(1, 2)
            kernels[order[start : start + fit]] = rematch(kernel, rows[x], columns[y], self.gamma)
            start += fit
        return kernels


def _padded(environments: Environments) -> Tensor:
    """Return the rows of each structure, filled with zeros: (n_structures, most atoms, d) in double precision."""
    return torch.nn.utils.rnn.pad_sequence(list(environments.rows.double().split(list(environments.counts))), batch_first=True)
