"""Probabilities that one ion replaces another in known crystals.

The model is that of G. Hautier et al., Inorg. Chem. 50, 656 (2011), doi 10.1021/ic102031h: the probability that the ions a and b occupy
the same sites of two crystals of the same type is exp(lambda_ab) / Z. The weights lambda are a table that pymatgen ships.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

NEVER_OBSERVED = -5.0
"""Weight lambda of pairs that are not in the table, the default of pymatgen."""
DEUTERIUM = "D1+"
PLACES = ("pymatgen.core", "pymatgen.analysis")
"""Packages in which versions of pymatgen keep the table."""
TABLE = "structure_prediction/data/lambda.json"


def ion_name(symbol: str, charge: float) -> str | None:
    """Return an ion as the table writes it, such as `Al3+`; None for a charge that is zero or not an integer."""
    rounded = round(charge)
    if not rounded or abs(charge - rounded) > 1e-6:
        return None
    return f"{symbol}{abs(rounded)}{'+' if rounded > 0 else '-'}"


def log_substitution(new: str, old: str) -> float | None:
    """Return the logarithm of the probability that an ion is replaced by another one, given the replaced one.

    Args:
        new: the ion that takes the place.
        old: the ion that is replaced.

    Returns:
        Natural logarithm; None if the table does not contain one of the ions.
    """
    ions, weights, totals = _table()
    if new not in ions or old not in ions:
        return None
    return float(weights[ions[new], ions[old]] - math.log(totals[ions[old]]))


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    """Return the index of each ion, the (n, n) weights lambda and the (n,) sums of their exponentials."""
    rows = [row for row in json.loads(_file().read_text(encoding="utf-8")) if DEUTERIUM not in row[:2]]
    ions = {ion: k for k, ion in enumerate(sorted({ion for row in rows for ion in row[:2]}))}
    weights = np.full((len(ions), len(ions)), NEVER_OBSERVED)
    for one, other, value in rows:
        weights[ions[one], ions[other]] = weights[ions[other], ions[one]] = float(value)
    return ions, weights, np.exp(weights).sum(axis=0)


def _file() -> Path:
    for package in PLACES:
        found = find_spec(package)
        for folder in () if found is None else found.submodule_search_locations or ():
            path = Path(folder) / TABLE
            if path.is_file():
                return path
    raise AssertionError(f"pymatgen has no {TABLE}")
