"""Estimate of the reference calls and core time of a check on the reference, before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from nucleate.errors import BadInput
from nucleate.polymorphs.stability.elastic import Strains
from nucleate.polymorphs.stability.free_energy import VOLUMES
from nucleate.polymorphs.stability.phonons import Displacements
from nucleate.polymorphs.stability.settings import CheckSettings
from nucleate.polymorphs.stability.supercells import primitive_cell, supercell_matrix
from nucleate.reference.ledger import LedgerRow

RELAXATION = 15
"""Assumed number of calls of a relaxation."""
POWER = 2.0
"""Assumed power of the number of atoms with which the cost of a call grows: between the third power of large cells, and the first one of
a mesh of k-points that becomes coarser."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a check on the reference.

    Attributes:
        calls: number of reference calls; calls of imaginary modes that are followed come on top.
        largest: number of atoms of the largest cell.
        core_seconds: core time, s.
        follows: whether imaginary modes are followed on the reference.
    """

    calls: int
    largest: int
    core_seconds: float
    follows: bool = True

    def __str__(self) -> str:
        """Sentence for the terminal."""
        hours = self.core_seconds / 3600
        time = f"{hours:.1f} core-hours" if hours >= 1 else f"{self.core_seconds / 60:.0f} core-minutes"
        more = "; imaginary modes that are followed cost more" if self.follows else ""
        return f"about {self.calls} reference calls with up to {self.largest} atoms, some {time}{more}"


def matrix_of(atoms: Atoms, settings: CheckSettings) -> np.ndarray:
    """Return the supercell of a primitive cell that the settings describe."""
    if settings.supercell is None:
        return supercell_matrix(atoms, settings.length)
    if len(atoms) * np.prod(settings.supercell) < 2:
        raise BadInput("--supercell 1x1x1: a single atom has no vibrations; give a larger supercell, or --length")
    return np.diag(settings.supercell)


def longer_matrix(atoms: Atoms, settings: CheckSettings) -> np.ndarray:
    """Return the supercell for the test of convergence, which is a half longer."""
    if settings.supercell is not None:
        return np.diag([max(n + 1, round(1.5 * n)) for n in settings.supercell])
    return supercell_matrix(atoms, 1.5 * settings.length)


def cells_of(atoms: Atoms, settings: CheckSettings) -> list[int]:
    """Return the number of atoms of each calculation for one structure, with an assumed number of relaxation steps."""
    cell = primitive_cell(atoms)
    sizes = [len(cell)] * RELAXATION
    if settings.phonons:
        # The supercell without displacements is calculated as one primitive cell.
        own = [len(cell)] + [len(each) for each in Displacements(cell, matrix_of(cell, settings), settings.displacement).structures[1:]]
        sizes += own
        if settings.converge:
            longer = Displacements(cell, longer_matrix(cell, settings), settings.displacement).structures
            sizes += [len(cell)] + [len(each) for each in longer[1:]]
        if settings.quasi_harmonic:
            # The ions take some steps to relax at each volume.
            sizes += len(VOLUMES) * ([len(cell)] * 5 + own)
    if settings.elastic:
        structures = Displacements(cell, np.eye(3, dtype=int), settings.displacement).structures
        sizes += [len(cell)] * (len(structures) + len(Strains(cell, settings.strain).structures))
    return sizes


def estimate(cells: Sequence[int], atoms: float, core_seconds: float, follows: bool = True) -> Estimate:
    """Return the cost of calculations.

    Args:
        cells: number of atoms of each calculation.
        atoms, core_seconds: number of atoms of a typical known call, and its core time, s.
        follows: whether imaginary modes are followed on the reference.
    """
    sizes = np.array(cells)
    return Estimate(len(sizes), int(sizes.max()), float(core_seconds * ((sizes / atoms) ** POWER).sum()), follows)


def typical(rows: Iterable[LedgerRow]) -> tuple[float, float] | None:
    """Return the medians of atoms and core seconds of the successful calls of a ledger; None without any."""
    known = [(len(row.atoms), row.core_seconds) for row in rows if row.label is not None and row.core_seconds > 0]
    if not known:
        return None
    atoms, seconds = np.median(np.array(known), axis=0)
    return float(atoms), float(seconds)
