"""Pretrained potentials, alone and as priors of a learned correction.

    E = E_prior + E_correction

The correction is trained on the differences between reference and prior in energies, forces and stresses. The weights of the prior are not
changed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import BadInput, ReferenceFailed, quoted
from nucleate.potentials.base import Prediction, check_input
from nucleate.reference.base import Label
from nucleate.reference.surrogates import SurrogateReference, mace_calculator

PRIORS = {"chgnet": (6.0, 94), "sevennet": (5.0, 89)}
"""Cutoff radius (Å) and largest atomic number of each prior."""


def check_prior(name: str) -> None:
    """Raise `BadInput` unless `name` is the name of a prior."""
    kind, _, file = name.partition(":")
    if name not in PRIORS and not (kind == "mace" and file):
        raise BadInput(f"unknown prior '{quoted(name)}'; choose {', '.join(PRIORS)} or mace:FILE")


def resolved_prior(name: str) -> str:
    """Return the name with the absolute path of its file."""
    kind, _, file = name.partition(":")
    return f"mace:{Path(file).expanduser().resolve()}" if kind == "mace" and file else name


def prior_digest(name: str) -> str:
    """Return the hash of the file of a MACE prior, or an empty text for other priors.

    Raises:
        BadInput: the file cannot be read.
    """
    kind, _, file = name.partition(":")
    if kind != "mace":
        return ""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise BadInput(f"{name}: the model file cannot be read: {error.strerror}") from error


class PriorPotential:
    """CHGNet, 7net-0 or a MACE model as a `Potential`, evaluated one structure at a time.

    7net-0 is not parity invariant: its forces on a crystal and its mirror image differ by some meV/Å.

    Args:
        name: `chgnet`, `sevennet` or `mace:FILE`.

    Raises:
        BadInput: the name is unknown, or the file is not a MACE model.
        MissingDependency: the package is not installed.
    """

    def __init__(self, name: str):
        check_prior(name)
        self.name = name
        self._reference = SurrogateReference(name)
        self.species: tuple[int, ...]
        if name in PRIORS:
            self.cutoff, last = PRIORS[name]
            self.species = tuple(range(1, last + 1))
        else:
            calculator = mace_calculator(name.partition(":")[2])
            self.cutoff = float(calculator.r_max)
            self.species = tuple(int(z) for z in calculator.z_table.zs)

    def layout(self, batch: CrystalBatch, edges: Edges) -> None:
        """Return None, since a prior has no such tables; see `Potential`."""

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: None = None, mean_forces: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses; see `Potential`.

        The packages compute their own pairs, so `edges` is not used. Structures whose evaluation fails get NaN.

        Raises:
            BadInput: the batch contains an element that the prior does not support.
        """
        check_input(self.species, self.cutoff, batch, None)
        labels = [self._label(atoms) for atoms in batch.to_atoms()]

        def tensor(values: list[Any]) -> Tensor:
            return torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values]).to(batch.positions.device)

        forces = torch.cat([torch.as_tensor(label.forces, dtype=torch.float64) for label in labels]).to(batch.positions.device)
        stress = full_from_voigt(tensor([label.stress for label in labels]))
        return Prediction(tensor([label.energy for label in labels]).unsqueeze(0), forces.unsqueeze(0), stress.unsqueeze(0))

    def _label(self, atoms: Atoms) -> Label:
        """Return the label of one structure, with NaN if its evaluation fails."""
        try:
            return self._reference.label(atoms)
        except ReferenceFailed:
            return Label(float("nan"), np.full((len(atoms), 3), np.nan), np.full(6, np.nan))
