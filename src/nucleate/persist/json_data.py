"""Conversion of data to JSON, which has no NaN and no infinity."""

from __future__ import annotations

import math
from typing import Any

SCHEMA = 1
"""Version of the JSON that the command line prints; it increases when a key changes its meaning or is removed, not when one is added."""


def finite(value: Any) -> Any:
    """Return nested dictionaries and lists with None in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
