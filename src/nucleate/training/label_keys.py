"""Entries of a data file that contain the labels, and the unit of the stress.

Files use many names for labels (`free_energy`, `REF_energy`, `Energy`, `virial`). The names of ASE are used by default. Labels under other
names are not ignored: an error lists them, and the user chooses one.
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
"""Value of a key for training without this label."""
UNITS = {"eV/A^3": 1.0, "GPa": GPA, "kbar": 0.1 * GPA}
"""Units of stress in eV/Å³. A minus sign in front of the unit means that compression is positive, as in the output of VASP."""
LARGEST_STRESS = 5.0
"""Largest accepted component of the stress, eV/Å³ (800 GPa); larger values are usually in another unit."""


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
        description="Unit of the stress: eV/A^3, GPa or kbar; with a minus sign, such as -kbar, if compression is positive.",
    )

    def read(self, atoms: Atoms, where: str) -> tuple[float | None, np.ndarray | None, np.ndarray | None]:
        """Return the labels of one structure of a file.

        Args:
            atoms: the structure with its entries, as read by ASE.
            where: file and row, for error messages.

        Returns:
            Energy (eV), forces (n, 3) in eV/Å and stress (6,) in eV/Å³; None for missing labels.

        Raises:
            BadInput: a chosen key does not exist, there are only labels under other names, or a value is not a number.
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
        """Return the entry of a label, or None."""
        named = getattr(self, what)
        if named == NONE:
            return None
        if named is not None:
            if named not in entries:
                raise BadInput(f"{where}: has no entry {quoted(named)!r} for the {what}; its entries are {_listed(entries)}")
            return entries[named]
        value = next((entries[name] for name in usual if name in entries), None)
        if value is not None:
            return value
        stems = ("energy", "energies") if what == "energy" else ("force", "forces") if what == "forces" else ("stress", "virial", "virials")
        others = [name for name in entries if any(stem in name.lower() for stem in stems) and not _per_atom_energy(name, entries)]
        if others:
            raise BadInput(
                f"{where}: has no entry {usual[0]!r}, but {_listed(others)}; choose one with --{what}-key, or '{NONE}' to leave it out"
            )
        return None

    def _stress(self, stress: np.ndarray, name: str, atoms: Atoms, where: str) -> np.ndarray:
        """Convert a stress or virial to (6,) in eV/Å³."""
        if stress.size not in (6, 9):
            raise BadInput(f"{where}: the entry {quoted(name)!r} has {stress.size} numbers; a stress has 6 or 9")
        if stress.size == 9:
            matrix = stress.reshape(3, 3)
            stress = np.array(
                [matrix[0, 0], matrix[1, 1], matrix[2, 2], *(0.5 * (matrix[i, j] + matrix[j, i]) for i, j in ((1, 2), (0, 2), (0, 1)))]
            )
        else:
            stress = stress.reshape(6)
        if "virial" in name.lower():
            if atoms.cell.rank < 3:
                raise BadInput(
                    f"{where}: the entry {quoted(name)!r} needs a cell; add the cell, or ignore the entry with --stress-key none"
                )
            # The virial of QUIP and related programs is minus the stress times the volume.
            warnings.warn(InputNote(f"stress is computed from {quoted(name)} as minus the virial divided by the volume"), stacklevel=4)
            return -stress / atoms.get_volume()
        sign = -1.0 if self.stress_unit.startswith("-") else 1.0
        stress = sign * UNITS[self.stress_unit.removeprefix("-")] * stress
        largest = float(np.abs(stress).max())
        if largest > LARGEST_STRESS:
            raise BadInput(
                f"{where}: the stress is {largest:.3g} eV/Å³ ({largest / GPA:.0f} GPa); give its unit with --stress-unit, GPa or kbar, "
                "or -GPa, -kbar if compression is positive"
            )
        return stress


def _per_atom_energy(name: str, entries: dict[str, Any]) -> bool:
    """Return whether an entry is an array of atomic energies, which are not labels of a structure."""
    return np.ndim(entries[name]) > 0 and "energ" in name.lower()


def _listed(names: Any) -> str:
    """Return the first names as text."""
    return ", ".join(quoted(str(name), 24) for name in list(names)[:6]) or "none"


def _number(value: Any, where: str) -> float:
    """Return an energy as a number."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise BadInput(f"{where}: energy is {quoted(value, 40)!r}, which is not a number") from None


def _array(value: Any, name: str, where: str) -> np.ndarray:
    """Return a label as an array of numbers."""
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise BadInput(f"{where}: the entry {quoted(name)!r} contains values that are not numbers") from None
