"""Fourier neural operator in one dimension (Z. Li et al., arXiv:2010.08895): a map between functions that does not depend on their grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FourierLayer(nn.Module):
    """Sum of a convolution with a learned spectrum, a map of the channels at each point, and the GELU function.

    Args:
        width: Number of channels.
        modes: Number of Fourier modes of the convolution; higher ones are left out.
    """

    def __init__(self, width: int, modes: int):
        super().__init__()
        self.spectrum = nn.Parameter(torch.randn(modes, width, width, 2) / width)
        self.local = nn.Conv1d(width, width, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return the next values (b, width, n) of the channels `values` (b, width, n) on a periodic grid."""
        points = values.shape[-1]
        waves = torch.fft.rfft(values)
        modes = min(len(self.spectrum), waves.shape[-1])
        kernel = torch.view_as_complex(self.spectrum[:modes])
        # Modes first, so that the product is one batched multiplication of matrices.
        kept = torch.matmul(waves[..., :modes].permute(2, 0, 1), kernel).permute(1, 2, 0)
        padded = nn.functional.pad(torch.view_as_real(kept), (0, 0, 0, waves.shape[-1] - modes))
        return torch.fft.irfft(torch.view_as_complex(padded.contiguous()), n=points) + self.local(values)


class FourierOperator(nn.Module):
    """Maps functions on an interval to functions on it.

    The interval is continued by zeros to twice its length, so that the ends do not meet. Modes belong to this length, therefore grids of
    one length with other numbers of points share the same operator.

    Args:
        inputs: Number of input functions.
        outputs: Number of output functions.
        width: Number of channels.
        modes: Number of Fourier modes.
        layers: Number of Fourier layers.
    """

    def __init__(self, inputs: int = 1, outputs: int = 1, width: int = 32, modes: int = 48, layers: int = 4):
        super().__init__()
        self.lift = nn.Sequential(nn.Conv1d(inputs, 2 * width, 1), nn.GELU(), nn.Conv1d(2 * width, width, 1))
        self.layers = nn.ModuleList(FourierLayer(width, modes) for _ in range(layers))
        self.project = nn.Sequential(nn.Conv1d(width, 2 * width, 1), nn.GELU(), nn.Conv1d(2 * width, outputs, 1))

    def forward(self, functions: Tensor) -> Tensor:
        """Return the output functions (b, outputs, n) of the input functions (b, inputs, n)."""
        points = functions.shape[-1]
        values = nn.functional.pad(self.lift(functions), (0, points - 2))
        for k, layer in enumerate(self.layers):
            moved = layer(values)
            values = moved if k + 1 == len(self.layers) else values + nn.functional.gelu(moved)
        return self.project(values[..., :points])
