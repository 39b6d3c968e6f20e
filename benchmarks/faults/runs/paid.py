"""Calculators that write an invoice for every calculation before it is made, as a batch system would: what is paid is counted outside."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

INVOICES = "FAULTS_INVOICES"
"""Environment variable with the file of the invoices, which is outside the folder whose writes fail."""


def invoice(*parts: Any) -> None:
    """Write down that the calculation of these numbers begins."""
    key = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()[:16]
    with Path(os.environ[INVOICES]).open("a") as stream:
        stream.write(key + "\n")


class PaidEMT(EMT):
    """Effective medium theory, a classical potential of metals."""

    def calculate(
        self, atoms: Atoms | None = None, properties: tuple[str, ...] = ("energy",), system_changes: list[str] = all_changes
    ) -> None:
        """Write the invoice and calculate."""
        assert atoms is not None
        invoice(atoms.numbers, atoms.cell.array, atoms.positions)
        super().calculate(atoms, properties, system_changes)


class PaidIsing(Calculator):
    """A ferromagnet with 7 meV between neighbours below 3.05 Å."""

    implemented_properties = ("energy", "forces", "stress", "magmoms")

    def calculate(
        self, atoms: Atoms | None = None, properties: tuple[str, ...] = ("energy",), system_changes: list[str] = all_changes
    ) -> None:
        """Write the invoice and calculate."""
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        moments = atoms.get_initial_magnetic_moments()
        invoice(atoms.numbers, atoms.cell.array, atoms.positions, moments)
        i, j = neighbor_list("ij", atoms, 3.05)
        energy = -0.5 * 7e-3 * float((np.sign(moments)[i] * np.sign(moments)[j]).sum())
        n = len(atoms)
        self.results = {"energy": energy, "forces": np.zeros((n, 3)), "stress": np.zeros(6), "magmoms": 0.9 * moments}
