"""Torch's default type of real numbers, which belongs to the whole process and which programs that call nucleate may have changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def default_precision(double: bool = False) -> Iterator[None]:
    """Context in which new tensors have single (or double) precision unless said otherwise; afterwards they are as before."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
