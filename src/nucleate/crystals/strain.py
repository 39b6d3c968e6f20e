"""Homogeneous strain of a batch, and Fréchet coordinates of a variable cell.

A cell with logarithmic strain L (a symmetric 3x3 matrix) is `cells0 @ expm(L)`, and fractional positions are kept. The gradient with
respect to L needs the Fréchet derivative of the matrix exponential (A. H. Al-Mohy and N. J. Higham, SIAM J. Matrix Anal. Appl. 30,
1639 (2009), doi 10.1137/080716426), which is computed here from the exponential of a 6x6 block matrix.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import torch
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Row and column of each component in ASE's Voigt order xx, yy, zz, yz, xz, xy."""


HAS_KERNELS = find_spec("numba") is not None
"""Whether exponentials on the CPU use the kernels of `strain_kernels`, which need numba."""


def deform(batch: CrystalBatch, gradient: Tensor) -> CrystalBatch:
    """Apply a deformation gradient to cells and atoms.

    Args:
        batch: the structures.
        gradient: (n_structures, 3, 3) deformation gradients; row vectors are multiplied by them from the right.

    Returns:
        The deformed structures.
    """
    per_atom = gradient.index_select(0, batch.structure)
    positions = (batch.positions.unsqueeze(1) @ per_atom).squeeze(1)
    return replace(batch, positions=positions, cells=batch.cells @ gradient)


def frechet_adjoint(log_strain: Tensor, outer: Tensor) -> Tensor:
    """Return the gradient of a scalar with respect to L from its gradient `outer` with respect to expm(L).

    Args:
        log_strain: (n, 3, 3) logarithmic strains L.
        outer: (n, 3, 3) gradients with respect to expm(L).

    Returns:
        (n, 3, 3): the adjoint Fréchet derivative of expm at L applied to `outer`.
    """
    transposed = log_strain.transpose(1, 2)
    if _by_kernel(log_strain) and _by_kernel(outer):
        return _exponentials(transposed, outer)[1]
    n = log_strain.shape[0]
    block = log_strain.new_zeros(n, 6, 6)
    block[:, :3, :3] = transposed
    block[:, 3:, 3:] = transposed
    block[:, :3, 3:] = outer
    result: Tensor = torch.linalg.matrix_exp(block)[:, :3, 3:]
    return result


def deformation(log_strain: Tensor) -> Tensor:
    """Return the (n, 3, 3) deformation gradients expm(L) of logarithmic strains L."""
    if _by_kernel(log_strain):
        return _exponentials(log_strain, torch.zeros_like(log_strain))[0]
    result: Tensor = torch.linalg.matrix_exp(log_strain)
    return result


def _by_kernel(tensor: Tensor) -> bool:
    return HAS_KERNELS and tensor.device.type == "cpu" and tensor.dtype == torch.float64 and not tensor.requires_grad


def _exponentials(matrices: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return exponentials and their derivatives along the directions, computed by the kernel."""
    # numba is imported only here, because that takes a quarter of a second.
    from nucleate.crystals.strain_kernels import exponentials

    values, derivatives = torch.empty(matrices.shape, dtype=torch.float64), torch.empty(matrices.shape, dtype=torch.float64)
    exponentials(matrices.contiguous().numpy(), directions.contiguous().numpy(), values.numpy(), derivatives.numpy())
    return values, derivatives


def voigt_from_full(stress: Tensor) -> Tensor:
    """Convert (..., 3, 3) tensors to (..., 6) in ASE's order xx, yy, zz, yz, xz, xy; the tensors are symmetrised."""
    symmetric = 0.5 * (stress + stress.transpose(-1, -2))
    return torch.stack([symmetric[..., i, j] for i, j in VOIGT], dim=-1)


def full_from_voigt(stress: Tensor) -> Tensor:
    """Convert (..., 6) components in ASE's order to symmetric (..., 3, 3) tensors."""
    rows = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]
    return torch.stack([torch.stack([stress[..., k] for k in row], dim=-1) for row in rows], dim=-2)
