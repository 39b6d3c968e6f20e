"""Which calculation of the ledger a polymorph stands on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleate.csp.records import Polymorph
from nucleate.reference.ledger import LedgerRow

SAME = 1e-6
"""Largest difference of coordinates of one structure, Å, as in the hash of the ledger."""


def row_of(polymorph: Polymorph, rows: Sequence[LedgerRow]) -> LedgerRow | None:
    """Return the calculation of a polymorph's structure, the last one if there are several; None: it is not in this ledger."""
    for row in reversed(rows):
        if (
            row.label is not None
            and np.array_equal(row.atoms.numbers, polymorph.atoms.numbers)
            and np.allclose(row.atoms.cell.array, polymorph.atoms.cell.array, rtol=0, atol=SAME)
            and np.allclose(row.atoms.positions, polymorph.atoms.positions, rtol=0, atol=SAME)
        ):
            return row
    return None
