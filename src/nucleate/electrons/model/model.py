"""A trained model of the electrons of a material: descriptor, network, and what the physics needs to know."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save
from torch import Tensor

from nucleate.electrons.descriptors.base import GridDescriptor
from nucleate.electrons.descriptors.bispectrum import LARGEST, Bispectrum
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.species import Ion, IonHeader
from nucleate.errors import BadInput
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import Finite, Positive, Whole, bounded, read_tensor_file, stated_only

VERSION = 1
DESCRIPTORS = {"power": PowerSpectrum, "bispectrum": Bispectrum}


def make_descriptor(settings: dict[str, Any]) -> GridDescriptor:
    """From its settings; raises `BadInput` for a name that is unknown."""
    options = dict(settings)
    name = options.pop("name", "power")
    if name not in DESCRIPTORS:
        raise BadInput(f"no descriptor {name!r}; there are {', '.join(DESCRIPTORS)}")
    try:
        made: GridDescriptor = DESCRIPTORS[name](**options)
    except TypeError:
        known = ", ".join(k for k in inspect.signature(DESCRIPTORS[name]).parameters if k != "n_species")
        raise BadInput(f"descriptor {name}: options are {known}; given: {', '.join(k for k in options if k != 'n_species')}") from None
    return made


class PowerHeader(BaseModel):
    """Settings of the power spectrum as files state them."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["power"]
    n_species: Annotated[Whole, Field(ge=1, le=118)]
    cutoff: Annotated[Positive, Field(le=30)]
    radial: Annotated[Whole, Field(ge=1, le=256)]
    degree: Annotated[Whole, Field(ge=0, le=12)]
    cubic: Annotated[bool, Field(strict=True)]


class _Bispectrum(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Literal["bispectrum"]
    n_species: Annotated[Whole, Field(ge=1, le=118)]
    cutoff: Annotated[Positive, Field(le=30)]
    twojmax: Annotated[Whole, Field(ge=0, le=LARGEST)]
    rfac0: Finite
    rmin0: Finite
    weights: list[Finite] = Field(max_length=118)


class _Network(BaseModel):
    model_config = ConfigDict(extra="forbid")

    features: Annotated[Whole, Field(ge=1, le=10**8)]
    outputs: Annotated[Whole, Field(ge=2, le=10**6)]
    hidden: list[Annotated[Whole, Field(ge=1, le=10**6)]] = Field(max_length=100)
    members: Annotated[Whole, Field(ge=1, le=1000)]


class EngineHeader(BaseModel):
    """What made training data; what else its settings were is kept."""

    model_config = ConfigDict(extra="allow")

    engine: str = Field(max_length=200)
    functional: str = Field(max_length=200)
    pseudopotential: str = Field(max_length=200)
    cutoff: Positive | None = None


class _Facts(BaseModel):
    """Errors and costs of a training, free but for what a verb asks of them."""

    model_config = ConfigDict(extra="allow")

    temperature: Positive | None = None
    errors: dict[str, Any] | None = None


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Whole
    descriptor: Annotated[PowerHeader | _Bispectrum, Field(discriminator="name")]
    network: _Network
    sigma: Positive
    ions: list[IonHeader] = Field(min_length=1, max_length=118)
    spacing: Annotated[Positive, Field(le=10)]
    engine: EngineHeader
    facts: _Facts


@dataclass
class ElectronModel:
    """What `nucleate electrons train` makes.

    Attributes:
        descriptor: of points in space.
        network: the committee.
        energies: (n_energies,), evenly spaced, eV.
        sigma: Gaussian width of the levels in the training data, eV.
        ions: pseudopotentials by symbol; their order is that of the descriptor's species.
        spacing: of the training data's grids, Å.
        engine: what made the training data: functional, pseudopotential, cutoff.
        facts: errors on held-back snapshots and the like.
    """

    descriptor: GridDescriptor
    network: LdosNetwork
    energies: np.ndarray
    sigma: float
    ions: dict[str, Ion]
    spacing: float
    engine: dict[str, Any]
    facts: dict[str, Any]

    def species(self, atoms: Atoms) -> Tensor:
        """(n_atoms,) index of each atom's species; raises `BadInput` for an element it has not seen."""
        missing = sorted(set(atoms.get_chemical_symbols()) - set(self.ions))
        if missing:
            raise BadInput(f"{', '.join(missing)}: the model has not seen this; it knows {', '.join(self.ions)}")
        table = torch.full((120,), -1)
        for index, symbol in enumerate(self.ions):
            table[atomic_numbers[symbol]] = index
        return table[torch.tensor(atoms.numbers)]

    def electrons(self, atoms: Atoms) -> float:
        """Valence electrons of a structure."""
        return sum(self.ions[symbol].charge for symbol in atoms.get_chemical_symbols())

    def grid(self, atoms: Atoms, spacing: float | None = None) -> Grid:
        """A grid at least as fine as the training data's, of sizes that Fourier transforms like.

        Raises:
            BadInput: a spacing coarser than the training data's: the density's short waves would be folded.
        """
        wanted = self.spacing if spacing is None else spacing
        if not wanted > 0:
            raise BadInput(f"grid spacing {wanted:g} Å: give a positive one")
        if wanted > self.spacing * 1.02:
            raise BadInput(
                f"a grid of {wanted:g} Å is too coarse: the training data have {self.spacing:.3f} Å for a cutoff of "
                f"{self.engine.get('cutoff', float('nan')):g} eV"
            )
        # Slack of 2 %, as the training data's own grids vary.
        lengths = np.linalg.norm(atoms.cell.array, axis=1)
        n1, n2, n3 = (smooth_number(int(np.ceil(length / (1.02 * wanted) - 1e-9))) for length in lengths)
        return Grid(torch.tensor(atoms.cell.array), (n1, n2, n3))

    def save(self, path: Path) -> None:
        """Write it; raises `StorageFailed` if the disk will not."""
        said = {
            "version": VERSION,
            "descriptor": self.descriptor.settings(),
            "network": self.network.description(),
            "sigma": self.sigma,
            "ions": [ion.as_dict() for ion in self.ions.values()],
            "spacing": self.spacing,
            "engine": self.engine,
            "facts": self.facts,
        }
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.network.state_dict().items()}
        tensors["energies"] = torch.tensor(self.energies)
        write_whole(path, save(tensors, {"nucleate_electrons": json.dumps(said)}))

    @classmethod
    def load(cls, path: Path) -> ElectronModel:
        """Read one; raises `BadInput` for what is none, truncated, contradictory or of a newer version."""
        path = path / "model.safetensors" if path.is_dir() else path
        file = read_tensor_file(path, "model of electrons", "train one with: nucleate electrons train")
        said = file.header("nucleate_electrons", VERSION, _Header)
        shape = said.network
        if said.descriptor.n_species != len(said.ions) or len({ion.symbol for ion in said.ions}) < len(said.ions):
            raise BadInput(f"{path}: its header has {len(said.ions)} ions for the {said.descriptor.n_species} species of its descriptor")
        energies = file.tensors.pop("energies", None)
        if energies is None or tuple(energies.shape) != (shape.outputs,) or energies.dtype != torch.float64:
            raise BadInput(f"{path}: tensor energies: {shape.outputs} numbers belong there, as many as the network's outputs")
        if not (energies.diff() > 0).all():
            raise BadInput(f"{path}: tensor energies: they do not rise")
        with bounded(file):
            descriptor = make_descriptor(said.descriptor.model_dump())
        if descriptor.features != shape.features:
            raise BadInput(f"{path}: its header has a descriptor of {descriptor.features} features for a network of {shape.features}")
        network = file.fill(lambda: LdosNetwork(shape.features, shape.outputs, tuple(shape.hidden), shape.members))
        network.requires_grad_(False)
        ions = {ion.symbol: Ion(**ion.model_dump()) for ion in said.ions}
        return cls(descriptor, network, energies.numpy(), said.sigma, ions, said.spacing, stated_only(said.engine), stated_only(said.facts))


def smooth_number(least: int) -> int:
    """The next number without prime factors beyond 5."""
    number = max(1, least)
    while True:
        rest = number
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return number
        number += 1
