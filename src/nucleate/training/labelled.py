"""Structures with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.formula import formula_text


@dataclass(frozen=True)
class LabelledStructure:
    """A structure with its labels.

    Attributes:
        atoms: periodic structure; a molecule is in a large empty cell.
        energy: energy, eV.
        forces: (n_atoms, 3) forces, eV/Å, or None.
        stress: (6,) stress in Voigt order, eV/Å³, or None; molecules have none.
        where: file and row, for error messages.
        info: further entries of the file, such as names of groups.
        before: the labels before the predictions of a prior were subtracted, if they were.
        weight: factor of the weight of the structure in the loss of a training.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    where: str
    info: dict[str, Any]
    before: LabelledStructure | None = None
    weight: float = 1.0

    @property
    def labels(self) -> LabelledStructure:
        """Labels of the reference, without subtraction of a prior."""
        return self.before or self

    @property
    def formula(self) -> str:
        """Formula with the number of atoms, elements in alphabetical order."""
        symbols, counts = np.unique(self.atoms.get_chemical_symbols(), return_counts=True)
        return formula_text({str(s): int(n) for s, n in zip(symbols, counts, strict=True)})
