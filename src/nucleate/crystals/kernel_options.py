"""Options of numba kernels."""

from __future__ import annotations

from typing import Any

from numba import njit


def _probe() -> None:
    """Function whose place on disk is that of all kernels."""


def _can_cache() -> bool:
    """Return whether compiled kernels can be stored beside the source or in the cache folder of the user."""
    try:
        njit(cache=True)(_probe)
    except RuntimeError:
        return False
    return True


OPTIONS: dict[str, Any] = {"cache": _can_cache(), "nogil": True, "error_model": "numpy"}
"""Division by zero gives infinity, as in NumPy. Without a place for the cache, every process compiles the kernels it uses."""
