"""Which calculation of the ledger a polymorph stands on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nucleate.csp.records import Polymorph, enthalpy_per_atom
from nucleate.reference.ledger import LedgerRow

SAME = 1e-6
"""Largest difference of coordinates of one structure, Å, as in the hash of the ledger, and of its energies, eV/atom."""


def row_of(polymorph: Polymorph, rows: Sequence[LedgerRow], pressure: float) -> LedgerRow | None:
    """Return the calculation of a polymorph's structure with its energy, the last one if there are several; None: it is not in this ledger.

    Calculations of one structure in several magnetic orders have different energies.

    Args:
        polymorph: the polymorph.
        rows: rows of the ledger.
        pressure: pressure of the search, GPa.
    """
    for row in reversed(rows):
        if (
            row.label is not None
            and np.array_equal(row.atoms.numbers, polymorph.atoms.numbers)
            and np.allclose(row.atoms.cell.array, polymorph.atoms.cell.array, rtol=0, atol=SAME)
            and np.allclose(row.atoms.positions, polymorph.atoms.positions, rtol=0, atol=SAME)
            and abs(enthalpy_per_atom(row.atoms, row.label, pressure) - polymorph.energy) < SAME
        ):
            return row
    return None
