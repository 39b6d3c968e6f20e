"""Data on molecular crystals for reports: isolated molecules, lattice energies and other compounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nucleate.csp.molecular.alone import PURPOSE
from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.csp.records import Polymorph
from nucleate.reference.ledger import LedgerRow
from nucleate.units import KJ_PER_MOL


def isolated_energies(settings: MolecularSettings, rows: Iterable[LedgerRow]) -> list[float | None]:
    """Return the energy of each isolated molecule, the lowest of its geometries, eV; None if it is not calculated yet."""
    labels = [(row.atoms.numbers, row.label.energy) for row in rows if row.purpose == PURPOSE and row.label is not None]
    energies: list[float | None] = []
    for entry in settings.molecule:
        numbers = entry.molecule.numbers
        energies.append(min((energy for own, energy in labels if np.array_equal(own, numbers)), default=None))
    return energies


def molecules_data(settings: MolecularSettings, rows: Iterable[LedgerRow]) -> dict[str, Any]:
    """Return the molecules of a search as JSON data."""
    energies = isolated_energies(settings, rows)
    kinds = [
        {"name": entry.name, "formula": entry.molecule.formula, "count": entry.count, "energy": energy}
        for entry, energy in zip(settings.molecule, energies, strict=True)
    ]
    return {"units": settings.units, "kinds": kinds}


def lattice_energy(polymorph: Polymorph, settings: MolecularSettings, energies: list[float | None]) -> float | None:
    """Return the energy of a crystal minus that of its isolated molecules, kJ/mol of formula units; None for other compounds.

    It is the electronic energy (or enthalpy) without vibrations.
    """
    if polymorph.compound is not None or any(energy is None for energy in energies):
        return None
    alone = sum(entry.count * (energy or 0.0) for entry, energy in zip(settings.molecule, energies, strict=True))
    return (polymorph.energy * len(polymorph.atoms) / settings.units - alone) / KJ_PER_MOL
