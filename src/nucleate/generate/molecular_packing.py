"""Volumes of molecules in crystals, and smallest distances between atoms of different molecules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols, vdw_radii

from nucleate.errors import BadInput
from nucleate.molecules.molecule import Molecule

INCREMENTS = {
    "H": 5.08, "B": 13.24, "C": 13.87, "N": 11.8, "O": 11.39, "F": 11.17, "Si": 37.3, "P": 29.5, "S": 25.2, "Cl": 25.8, "Fe": 30.4,
    "Co": 29.4, "Ni": 26.0, "Cu": 26.9, "Zn": 39.0, "Ge": 41.6, "As": 36.4, "Se": 30.3, "Br": 32.7, "Sn": 52.8, "Te": 46.7, "I": 46.2,
}  # fmt: skip
"""Average volumes of atoms in crystals of molecules, Å³ (D. W. M. Hofmann, Acta Cryst. B 58, 489 (2002), doi 10.1107/S0108768101021814)."""
CONTACT = 0.8
"""Smallest distance between atoms of different molecules, relative to the sum of their van der Waals radii (A. Bondi, J. Phys. Chem. 68,
441 (1964), doi 10.1021/j100785a001)."""
BRIDGE = 0.6
"""The same for a hydrogen bond: a hydrogen atom bonded to N, O or F, and an atom N, O, F, S, Cl or Br of another molecule."""
DONORS = (7, 8, 9)
ACCEPTORS = (7, 8, 9, 16, 17, 35)
UNKNOWN_RADIUS = 2.0
"""Van der Waals radius of elements that Bondi's table lacks, Å."""


def molecular_volume(molecule: Molecule) -> float:
    """Return the average volume of a molecule in a crystal, Å³.

    Raises:
        BadInput: the volume of an element is not known.
    """
    symbols = [chemical_symbols[z] for z in molecule.numbers]
    unknown = sorted(set(symbols) - set(INCREMENTS))
    if unknown:
        raise BadInput(f"{molecule.name}: the volume of {', '.join(unknown)} in molecular crystals is not tabulated; set volume_per_atom")
    return float(sum(INCREMENTS[symbol] for symbol in symbols))


def contact_distances(molecules: Sequence[Molecule]) -> list[list[np.ndarray]]:
    """Return the smallest distances between the atoms of each pair of molecules, Å, as matrices of their atoms."""
    radii = [_radii(molecule.numbers) for molecule in molecules]
    bridging = [_bridging(molecule) for molecule in molecules]
    accepting = [np.isin(molecule.numbers, ACCEPTORS) for molecule in molecules]
    result = []
    for i in range(len(molecules)):
        row = []
        for j in range(len(molecules)):
            bridge = (bridging[i][:, None] & accepting[j][None]) | (accepting[i][:, None] & bridging[j][None])
            row.append(np.where(bridge, BRIDGE, CONTACT) * (radii[i][:, None] + radii[j][None]))
        result.append(row)
    return result


def _radii(numbers: np.ndarray) -> np.ndarray:
    radii = vdw_radii[numbers]
    return np.where(np.isfinite(radii), radii, UNKNOWN_RADIUS)


def _bridging(molecule: Molecule) -> np.ndarray:
    """Return whether each atom is a hydrogen atom that can form a hydrogen bond."""
    result = np.zeros(len(molecule), dtype=bool)
    for i, j in molecule.bonds:
        for h, x in ((i, j), (j, i)):
            if molecule.numbers[h] == 1 and molecule.numbers[x] in DONORS:
                result[h] = True
    return result
