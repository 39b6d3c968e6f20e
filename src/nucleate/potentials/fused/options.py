"""Options of the numba kernels of the fused evaluation, which calculate in single precision."""

from __future__ import annotations

from typing import Any

import numpy as np

from nucleate.crystals import kernel_options

single = np.float32
"""Type of every constant in a kernel: a Python number would convert the calculation to double precision."""

OPTIONS: dict[str, Any] = {**kernel_options.OPTIONS, "fastmath": {"contract", "reassoc", "nsz", "arcp"}}
"""Sums may be reordered and fused; NaN and infinity stay, because relaxations recognise exploded structures by them."""

INLINE: dict[str, Any] = {"inline": "always", "error_model": OPTIONS["error_model"], "fastmath": OPTIONS["fastmath"]}
"""Options of functions inside a vectorised loop: LLVM does not vectorise a loop that calls functions."""
