"""The contract of a potential: energies, forces and stresses of a batch, with a leading committee axis."""

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
        energy: (m, n_structures), eV.
        forces: (m, n_atoms, 3), eV/Å.
        stress: (m, n_structures, 3, 3), eV/Å³, tension positive.
        deviation: (n_structures,) eV, standard deviation of the energy, from a model that knows it without a committee.
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
        """The committee's mean, with a committee axis of one."""
        return Prediction(self.energy.mean(0, True), self.forces.mean(0, True), self.stress.mean(0, True), self.deviation)

    def energy_sigma(self, batch: CrystalBatch) -> Tensor:
        """(n_structures,) standard deviation of the energy per atom, the model's own or that over members, eV/atom."""
        if self.deviation is not None:
            return self.deviation / batch.counts
        if self.members == 1:
            return torch.zeros_like(self.energy[0])
        return (self.energy / batch.counts).std(0)


class Potential(Protocol):
    """Potential energy surface with a committee axis.

    `edges` may hold pairs beyond `cutoff`; it must hold every pair within.
    """

    cutoff: float
    species: tuple[int, ...]

    def layout(self, batch: CrystalBatch, edges: Edges) -> Any:
        """Tables that stay valid while the pairs do, for `energy_forces_stress`; None if the potential has none."""
        ...

    def energy_forces_stress(
        self, batch: CrystalBatch, edges: Edges | None = None, layout: Any = None, mean_forces: bool = False
    ) -> Prediction:
        """Energies, forces and stresses of a batch.

        Args:
            batch: Structures.
            edges: Pairs of neighbours; None: the potential finds them.
            layout: Tables for these edges from `layout`; None: the potential makes them.
            mean_forces: Return forces and stress of the committee's mean alone, with a committee axis of one, where that costs less.

        Raises:
            BadInput: the batch contains an element that the potential does not know.
        """
        ...


class LearnedModel(nn.Module):
    """Base class of the potentials that are fitted to labels; with defaults for what not every family has.

    Attributes:
        family: Name of the family, as in settings and model files.
        by_species: Whether the first axis of every parameter runs over the species.
        prior_name: Name of the prior below the model; None, since a model stands alone.
        closed_form: Whether the model is solved in closed form instead of trained in steps.
        chosen_tensors: Names of integer tensors that training chooses.
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
        """The model itself; `CorrectedPotential` returns its correction."""
        return self

    @property
    def parameter_count(self) -> int:
        """Number of learned parameters, all members together."""
        return sum(parameter.numel() for parameter in self.parameters())

    def layout(self, batch: CrystalBatch, edges: Edges) -> Any:
        """See `Potential`."""
        return None

    def fit_inputs(self, batch: CrystalBatch) -> None:
        """Set the scale of the network's inputs from training structures; families without such a scale do nothing."""

    def copy_species(self, target: str, source: str) -> None:
        """Copy the weights of one species to another.

        Raises:
            BadInput: species share their weights in this family.
        """
        raise BadInput(f"weights can be copied between species in a2a alone; species share them in {self.family}")

    def mean_atomic_energies(self, batch: CrystalBatch, edges: Edges) -> Tensor | None:
        """Return the (n_atoms,) committee mean of the atomic energies in eV, without the pair wall; None where there are none."""
        return None


def weights_dtype(tensors: Mapping[str, Tensor], where: str) -> torch.dtype:
    """Return the floating-point type of the weights in a file, that of energy_scale; raise `BadInput` if it is not valid."""
    scale = tensors.get("energy_scale")
    if scale is None or scale.dtype not in (torch.float32, torch.float64):
        raise BadInput(f"{where}: tensor 'energy_scale' must be one number of type float32 or float64; the file is damaged")
    return scale.dtype


def check_input(species: tuple[int, ...], cutoff: float, batch: CrystalBatch, edges: Edges | None) -> None:
    """Check that a potential covers a batch.

    Args:
        species: atomic numbers it knows.
        cutoff: its reach, Å.
        batch: what it is asked.
        edges: the pairs it is given, if any.

    Raises:
        BadInput: elements it was not made for, or a list of pairs that ends before its cutoff.
    """
    check_species(species, batch.numbers.unique().tolist())
    if edges is not None and edges.reach < cutoff:
        raise BadInput(f"the potential reaches {cutoff:g} Å, the list of pairs {edges.reach:g} Å; make it with the potential's cutoff")


def check_species(species: Sequence[int], asked: Iterable[int]) -> None:
    """Raise `BadInput` naming the elements that a potential of these species was not made for."""
    unknown = sorted(set(asked) - set(species))
    if unknown:
        names, known = (", ".join(chemical_symbols[z] for z in some) for some in (unknown, species))
        raise BadInput(f"the potential knows {known}, not {names}; train one that does")
