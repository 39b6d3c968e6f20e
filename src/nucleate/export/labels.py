"""Which calculation of the ledger a polymorph stands on, and the k-points of a calculation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.cell import Cell

from nucleate.csp.records import Polymorph, enthalpy_per_atom
from nucleate.errors import RunFolderError, quoted
from nucleate.reference.base import K_POINTS
from nucleate.reference.kpoints import KGrid
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


@dataclass(frozen=True)
class KPoints:
    """Regular grid of k-points of a label.

    Attributes:
        size: number of divisions along the three reciprocal vectors of `cell`.
        shift: shift of the grid from the Gamma point along each of them, in steps of the grid: 0 or 0.5.
        cell: (3, 3) lattice vectors (rows) of the cell that was calculated, Å: in general not those of the structure but the Niggli cell
            of its primitive lattice.
    """

    size: tuple[int, int, int]
    shift: tuple[float, float, float]
    cell: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """Return the grid as plain lists, for JSON."""
        return {"size": list(self.size), "shift": list(self.shift), "cell": self.cell.tolist()}

    def text(self) -> str:
        """Return the grid in one line: divisions, shift in steps, and lengths (Å) and angles (degrees) of the cell."""
        numbers = " ".join(f"{value:.6f}" for value in Cell(self.cell).cellpar())
        return f"{' '.join(map(str, self.size))} shift {' '.join(f'{step:g}' for step in self.shift)} of the cell {numbers}"


def k_points_of(row: LedgerRow | None) -> KPoints | None:
    """Return the k-points with which a label was calculated, as its row of the ledger states them.

    Returns:
        The grid. None: there is no label, the reference has no k-points, or the user's keywords choose them, which are part of the
        settings of the reference (`parameters`).

    Raises:
        RunFolderError: the k-points of the row are damaged.
    """
    if row is None or row.label is None or K_POINTS not in row.label.details:
        return None
    try:
        grid = KGrid.from_dict(row.label.details[K_POINTS])
        first, second, third = (0.5 if shifted else 0.0 for shifted in grid.shift)
        if len(grid.size) != 3 or min(*grid.size, grid.cells) < 1:
            raise ValueError("divisions and number of cells must be positive")
        cell = np.array(grid.basis, dtype=float) @ row.atoms.cell.array / grid.cells
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunFolderError(f"row {row.number} of the ledger: its k-points are damaged ({quoted(str(error))})") from None
    return KPoints(grid.size, (first, second, third), cell)
