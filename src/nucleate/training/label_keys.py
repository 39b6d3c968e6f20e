"""Entries of a data file that contain the labels, and the unit of the stress.

Files name their labels in many ways (`free_energy`, `REF_energy`, `Energy`, `virial`). What ASE knows by itself is taken; anything else is
listed and taken where the user names it, never passed over.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field

from nucleate.errors import BadInput, InputNote, quoted
from nucleate.units import GPA

NONE = "none"
"""In place of a key: train without."""
UNITS = {"eV/A^3": 1.0, "GPa": GPA, "kbar": 0.1 * GPA}
"""Of stress, in eV/Å³; with a minus in front where compression is positive, as VASP prints it."""
LARGEST_STRESS = 5.0
"""eV/Å³ (800 GPa); larger ones are in another unit."""


class LabelKeys(BaseModel):
    """Names of the entries that contain the labels."""

    model_config = ConfigDict(extra="forbid")

    energy: str | None = Field(None, max_length=80, description="Entry with the energy in eV; unset: energy.")
    forces: str | None = Field(None, max_length=80, description="Entry with the forces in eV/Å; unset: forces; none: no forces are read.")
    stress: str | None = Field(
        None, max_length=80, description="Entry with the stress or virial; unset: stress or virial; none: no stress is read."
    )
    stress_unit: str = Field(
        "eV/A^3",
        pattern=r"^-?(eV/A\^3|GPa|kbar)$",
        description="Unit of the stress: eV/A^3, GPa or kbar; a minus sign, as in -kbar, where compression is positive.",
    )

    def read(self, atoms: Atoms, where: str) -> tuple[float | None, np.ndarray | None, np.ndarray | None]:
        """Energy (eV), forces (n, 3) in eV/Å and stress (6,) in eV/Å³ of one structure, as its file says; None for what is not there.

        Raises:
            BadInput: a key that was named is not there, or labels stand there under names that nobody named.
        """
        results = {} if atoms.calc is None else dict(getattr(atoms.calc, "results", {}))
        entries = {**atoms.info, **{name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}, **results}
        energy = self._entry("energy", entries, ("energy",), where)
        forces = self._entry("forces", entries, ("forces",), where)
        stress = self._entry("stress", entries, ("stress", "virial"), where)
        if energy is not None:
            energy = _number(energy, where)
        if forces is not None:
            forces = _array(forces, "forces", where)
        if stress is not None:
            name = self.stress or next(name for name in ("stress", "virial") if name in entries)
            stress = self._stress(_array(stress, name, where), name, atoms, where)
        return energy, forces, stress

    def _entry(self, what: str, entries: dict[str, Any], usual: tuple[str, ...], where: str) -> Any:
        named = getattr(self, what)
        if named == NONE:
            return None
        if named is not None:
            if named not in entries:
                raise BadInput(f"{where}: has no entry {quoted(named)!r} for the {what}; entries there: {_listed(entries)}")
            return entries[named]
        found = next((entries[name] for name in usual if name in entries), None)
        if found is not None:
            return found
        stems = ("energy", "energies") if what == "energy" else ("force", "forces") if what == "forces" else ("stress", "virial", "virials")
        others = [name for name in entries if any(stem in name.lower() for stem in stems) and not _per_atom_energy(name, entries)]
        if others:
            raise BadInput(
                f"{where}: has no {usual[0]}, but {_listed(others)}; name the one to take with --{what}-key, or {NONE} to leave it out"
            )
        return None

    def _stress(self, stress: np.ndarray, name: str, atoms: Atoms, where: str) -> np.ndarray:
        if stress.size not in (6, 9):
            raise BadInput(f"{where}: {quoted(name)} has {stress.size} numbers, not 6 or 9")
        if stress.size == 9:
            matrix = stress.reshape(3, 3)
            stress = np.array(
                [matrix[0, 0], matrix[1, 1], matrix[2, 2], *(0.5 * (matrix[i, j] + matrix[j, i]) for i, j in ((1, 2), (0, 2), (0, 1)))]
            )
        else:
            stress = stress.reshape(6)
        if "virial" in name.lower():
            # The virial of QUIP and its descendants is minus the stress times the volume.
            warnings.warn(InputNote(f"stress is taken from {quoted(name)} as minus the virial over the volume"), stacklevel=4)
            return -stress / atoms.get_volume()
        sign = -1.0 if self.stress_unit.startswith("-") else 1.0
        stress = sign * UNITS[self.stress_unit.removeprefix("-")] * stress
        largest = float(np.abs(stress).max())
        if largest > LARGEST_STRESS:
            raise BadInput(
                f"{where}: stress of {largest:.3g} eV/Å³ ({largest / GPA:.0f} GPa): in which unit is it? give --stress-unit GPa or kbar, "
                "or -GPa, -kbar where compression is positive"
            )
        return stress


def _per_atom_energy(name: str, entries: dict[str, Any]) -> bool:
    """Whether an entry is an array of energies of atoms, which are no labels of a structure."""
    return np.ndim(entries[name]) > 0 and "energ" in name.lower()


def _listed(names: Any) -> str:
    return ", ".join(quoted(str(name), 24) for name in list(names)[:6]) or "none"


def _number(value: Any, where: str) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{where}: energy is {quoted(value, 40)!r}, not one number") from None


def _array(value: Any, name: str, where: str) -> np.ndarray:
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise BadInput(f"{where}: {quoted(name)} contains values that are not numbers") from None
