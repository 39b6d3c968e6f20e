"""Interface of potentials, which predict energies, forces and stresses of a batch with a leading committee axis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from nucleate.crystals.batch import CrystalBatch
from nucleate.crystals.neighbours import Edges
from nucleate.errors import BadInput


@dataclass(frozen=True)
class Prediction:
    """Prediction of a committee for a batch; m is the number of members (1 for a single potential).

    Attributes:
        energy: (m, n_structures) energies, eV.
        forces: (m, n_atoms, 3) forces, eV/Å.
        stress: (m, n_structures, 3, 3) stresses, eV/Å³, tension positive.
        deviation: (n_structures,) standard deviation of the energy, eV, for models that predict it without a committee.
    """

    energy: Tensor
    forces: Tensor
    stress: Tensor
    deviation: Tensor | None = None

    @property
    def members(self) -> int:
        """Number of committee members."""
        return self.energy.shape[0]

    def mean(self) -> Prediction:
        """Return the mean over the committee, with a committee axis of length one."""
        return Prediction(self.energy.mean(0, True), self.forces.mean(0, True), self.stress.mean(0, True), self.deviation)

    def energy_sigma(self, batch: CrystalBatch) -> Tensor:
        """Return the (n_structures,) standard deviation of the energy, predicted by the model or over the members, eV/atom."""
        if self.deviation is not None:
            return self.deviation / batch.counts
        if self.members == 1:
            return torch.zeros_like(self.energy[0])
        return (self.energy / batch.counts).std(0)


class Potential(Protocol):
    """Potential energy surface with a committee axis.

    `edges` must contain every pair within `cutoff`; it may contain pairs beyond it.

    Attributes:
        cutoff: cutoff radius, Å.
        species: atomic numbers that the potential supports.
    """

    cutoff: float
    species: tuple[int, ...]

    def layout(self, batch: CrystalBatch, edges: Edges) -> Any:
        """Return tables for `energy_forces_stress` that are valid as long as the list of pairs; None if the potential has none."""
        ...

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: Any = None, mean_forces: bool = False
    ) -> Prediction:
        """Predict energies, forces and stresses of a batch.

        Args:
            batch: the structures.
            edges: neighbour list; None computes it.
            layout: result of `layout` for these edges; None computes it.
            mean_forces: whether forces and stress may be returned only as the mean over the committee, with a committee axis of length
                one, which is faster for some families.

        Raises:
            BadInput: the batch contains an element that the potential does not support, or `edges` is too short.
        """
        ...


class LearnedModel(nn.Module):
    """Base class of potentials that are fitted to labels, with defaults for methods that not every family implements.

    Attributes:
        family: name of the family, as in settings and model files.
        by_species: whether the first axis of every parameter is the species.
        prior_name: None; a model with a prior is a `CorrectedPotential`.
        closed_form: whether the model is solved in closed form instead of trained in steps.
        chosen_tensors: names of integer tensors that training chooses.
    """

    family: ClassVar[str]
    by_species: ClassVar[bool] = False
    prior_name: ClassVar[None] = None
    closed_form: ClassVar[bool] = False
    chosen_tensors: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def for_tensors(cls, species: tuple[int, ...], settings: Any, tensors: Mapping[str, Tensor], where: str) -> Self:
        """Return a model of the size and type of the tensors of a file, whose values are not copied.

        Raises:
            BadInput: A tensor that determines size or type does not; the message begins with `where`.
        """
        raise NotImplementedError

    def check_tensors(self, where: str) -> None:
        """Raise `BadInput`, beginning with `where`, if values read from a file contradict the model."""

    @property
    def learned(self) -> Self:
        """The model itself; for a `CorrectedPotential` it is the correction."""
        return self

    @property
    def parameter_count(self) -> int:
        """Number of learned parameters of all members."""
        return sum(parameter.numel() for parameter in self.parameters())

    def layout(self, batch: CrystalBatch, edges: Edges) -> Any:
        """Return None, since most families have no such tables; see `Potential`."""
        return None

    def fit_inputs(self, batch: CrystalBatch) -> None:
        """Set mean and scale of the network's inputs from training structures; does nothing for families without them."""

    def copy_species(self, target: str, source: str) -> None:
        """Copy the weights of one species to another.

        Raises:
            BadInput: the family has no separate weights for each species.
        """
        raise BadInput(f"weights cannot be copied between species in the family '{self.family}', whose species share weights; use 'a2a'")

    def mean_atomic_energies(self, batch: CrystalBatch, edges: Edges) -> Tensor | None:
        """Return the (n_atoms,) committee mean of the atomic energies without the pair wall, eV; None for families without them."""
        return None


def weights_dtype(tensors: Mapping[str, Tensor], where: str) -> torch.dtype:
    """Return the floating-point type of the weights in a file, that of energy_scale; raise `BadInput` if it is not valid."""
    scale = tensors.get("energy_scale")
    if scale is None or scale.dtype not in (torch.float32, torch.float64):
        raise BadInput(f"{where}: tensor 'energy_scale' must be one number of type float32 or float64; the file is damaged")
    return scale.dtype


def check_input(species: tuple[int, ...], cutoff: float, batch: CrystalBatch, edges: Edges | None) -> None:
    """Check that a potential supports a batch.

    Args:
        species: atomic numbers that the potential supports.
        cutoff: cutoff radius of the potential, Å.
        batch: the structures.
        edges: neighbour list, if one is given.

    Raises:
        BadInput: the batch contains other elements, or the neighbour list is shorter than the cutoff.
    """
    check_species(species, batch.numbers.unique().tolist())
    if edges is not None and edges.reach < cutoff:
        raise BadInput(f"the neighbour list reaches {edges.reach:g} Å, but the potential's cutoff is {cutoff:g} Å; use that cutoff")


def check_species(species: Sequence[int], requested: Iterable[int]) -> None:
    """Raise `BadInput` if `requested` contains elements that are not among the species of a potential."""
    unknown = sorted(set(requested) - set(species))
    if unknown:
        names, known = (", ".join(chemical_symbols[z] for z in some) for some in (unknown, species))
        raise BadInput(f"the potential supports {known} but not {names}; train one that includes these elements")
