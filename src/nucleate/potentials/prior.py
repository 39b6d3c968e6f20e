"""Pretrained potentials, alone and as priors of a learned correction.

    E = E_prior + E_correction

The correction is trained on the differences between reference and prior in energies, forces and stresses. The weights of the prior are not
changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.crystals.strain import full_from_voigt
from nucleate.errors import BadInput, ReferenceFailed, quoted
from nucleate.potentials.base import Prediction
from nucleate.pretrained import PRETRAINED, canonical_name, check_elements, check_name, same_model, shown_name
from nucleate.reference.base import Label
from nucleate.reference.surrogates import mace_calculator, pretrained_reference

LIST_CUTOFF = 1.0
"""Cutoff radius (Å) of a calculator that finds its own neighbours; it only keeps the lists of the callers short."""
SPACING = 3.0
"""Distance (Å) of the atoms in the crystal on which a calculator is tried."""


def check_prior(name: str) -> None:
    """Raise `BadInput` unless `name` is the name of a prior.

    An ASE calculator is not accepted: model files record their prior, and opening one must not import a module that the file names.
    """
    check_name(name, "prior")


def resolved_prior(name: str) -> str:
    """Return the canonical name, with the absolute path of its file."""
    name = canonical_name(name)
    kind, _, file = name.partition(":")
    return f"mace:{Path(file).expanduser().resolve()}" if kind == "mace" and file else name


def pretrained_potential(name: str, species: Iterable[int], reference: str | None = None, role: str = "teacher") -> PriorPotential:
    """Return a pretrained potential after all checks; the weights of those in packages are loaded at the first evaluation.

    An ASE calculator does not list its elements, so it evaluates one crystal that contains all of them.

    Args:
        name: name of a pretrained potential, `mace:FILE`, or `ase:MODULE:CLASS`.
        species: atomic numbers of the structures to evaluate.
        reference: name of the reference, which must not be the same model; None: it is not compared.
        role: what the potential is used for, for messages.

    Raises:
        BadInput: the name is unknown, the file does not exist or is not a MACE model, an element is not supported, or the potential is the
            reference itself.
        MissingDependency: the package is not installed.
    """
    name = resolved_prior(check_name(name, role, calculators=True))
    if reference is not None and same_model(name, reference):
        raise BadInput(f"the {role} and the reference are both '{shown_name(name)}'; choose another {role}")
    potential = PriorPotential(name)
    check_elements(name, species, potential.species)
    if name.startswith("ase:"):
        potential.check_calculator(species)
    return potential


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
    """A pretrained potential as a `Potential`, evaluated one structure at a time.

    The SevenNet models are not parity invariant: their forces on a crystal and its mirror image differ by some 10 meV/Å.

    Args:
        name: name of a pretrained potential, `mace:FILE`, or `ase:MODULE:CLASS` (any element, since calculators do not list theirs).

    Raises:
        BadInput: the name is unknown, or the file is not a MACE model.
        MissingDependency: the package is not installed.
    """

    def __init__(self, name: str):
        self.name = check_name(name, calculators=True)
        self._reference = pretrained_reference(self.name)
        self.cutoff: float
        self.species: tuple[int, ...]
        if self.name in PRETRAINED:
            self.cutoff, self.species = PRETRAINED[self.name].cutoff, PRETRAINED[self.name].elements
        elif self.name.startswith("ase:"):
            self.cutoff, self.species = LIST_CUTOFF, tuple(range(1, 119))
        else:
            calculator = mace_calculator(self.name.partition(":")[2])
            self.cutoff = float(calculator.r_max)
            self.species = tuple(int(z) for z in calculator.z_table.zs)

    def check_calculator(self, species: Iterable[int]) -> None:
        """Raise `BadInput` if the potential cannot evaluate a simple crystal of some elements, with energy, forces and stress."""
        numbers = sorted(set(species))
        line = [[SPACING * k, 0, 0] for k in range(len(numbers))]
        try:
            self._reference.label(Atoms(numbers=numbers, positions=line, cell=[SPACING * len(numbers), SPACING, SPACING], pbc=True))
        except ReferenceFailed as error:
            symbols = ", ".join(chemical_symbols[z] for z in numbers)
            raise BadInput(f"{quoted(self.name)} cannot evaluate crystals of {symbols}: {quoted(error.reason, 160)}") from error

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
        check_elements(self.name, batch.numbers.unique().tolist(), self.species)
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
