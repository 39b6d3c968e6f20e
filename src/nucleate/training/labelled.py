"""Labelled structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nucleate.crystals.formula import formula_text


@dataclass(frozen=True)
class LabelledStructure:
    """Structure with its labels.

    Attributes:
        atoms: periodic; a molecule stands in a large empty cell.
        energy: eV.
        forces: (n_atoms, 3), eV/Å, or None.
        stress: (6,), eV/Å³, Voigt order, or None; molecules have none.
        where: file and row, for messages.
        info: what the file says besides, as group names.
        before: the labels before a prior was taken off them, if one was.
    """

    atoms: Atoms
    energy: float
    forces: np.ndarray | None
    stress: np.ndarray | None
    where: str
    info: dict[str, Any]
    before: LabelledStructure | None = None

    @property
    def labels(self) -> LabelledStructure:
        """The labels of the reference itself."""
        return self.before or self

    @property
    def formula(self) -> str:
        """With its atom count, elements in alphabetical order."""
        symbols, counts = np.unique(self.atoms.get_chemical_symbols(), return_counts=True)
        return formula_text({str(s): int(n) for s, n in zip(symbols, counts, strict=True)})
