"""Data on molecular crystals for reports: isolated molecules, lattice energies and other compounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nucleate.csp.molecular.settings import MolecularSettings
from nucleate.csp.records import Polymorph
from nucleate.units import KJ_PER_MOL


def molecules_data(settings: MolecularSettings, alone: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the molecules of a search as JSON data.

    Args:
        settings: the molecules.
        alone: facts of `events.MoleculeFitted` for each of them; empty before they are calculated.
    """
    kinds = [
        {
            "name": entry.name, "formula": entry.molecule.formula, "count": entry.count,
            "energy": alone[k]["energy"] if k < len(alone) else None, "relaxed": alone[k]["relaxed"] if k < len(alone) else None,
        }
        for k, entry in enumerate(settings.molecule)
    ]  # fmt: skip
    return {"units": settings.units, "kinds": kinds}


def lattice_energy(polymorph: Polymorph, molecules: dict[str, Any]) -> float | None:
    """Return the energy of a crystal minus that of its isolated molecules, kJ/mol of formula units; None for other compounds.

    It is the electronic energy (or enthalpy) without vibrations.

    Args:
        polymorph: the crystal.
        molecules: result of `molecules_data`.
    """
    kinds = molecules["kinds"]
    if polymorph.compound is not None or any(kind["energy"] is None for kind in kinds):
        return None
    alone = sum(kind["count"] * kind["energy"] for kind in kinds)
    return float((polymorph.energy * len(polymorph.atoms) / molecules["units"] - alone) / KJ_PER_MOL)
