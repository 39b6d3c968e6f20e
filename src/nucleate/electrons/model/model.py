"""Trained model of the local density of states of a material: descriptor, network and pseudopotential data."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from safetensors.torch import save
from torch import Tensor

from nucleate.electrons.descriptors.base import GridDescriptor
from nucleate.electrons.descriptors.bispectrum import Bispectrum
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.zero import Zero, zero_of_energy
from nucleate.electrons.messages.atom_graph import AtomGraph
from nucleate.electrons.messages.network import MessageNetwork
from nucleate.electrons.messages.settings import MessageSettings
from nucleate.electrons.model.blocks import Surroundings
from nucleate.electrons.model.header import TOGETHER, TOTAL, VERSION, Channel, ModelHeader
from nucleate.electrons.model.network import LdosNetwork
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import bounded, read_tensor_file, read_tensor_header, stated_only

DESCRIPTORS = {"power": PowerSpectrum, "bispectrum": Bispectrum}


def make_descriptor(settings: dict[str, Any]) -> GridDescriptor:
    """Build a descriptor from its settings; raise `BadInput` for an unknown name or option."""
    options = dict(settings)
    name = options.pop("name", "power")
    if name not in DESCRIPTORS:
        raise BadInput(f"unknown descriptor {name!r}; choose from {', '.join(DESCRIPTORS)}")
    try:
        made: GridDescriptor = DESCRIPTORS[name](**options)
    except TypeError:
        known = ", ".join(k for k in inspect.signature(DESCRIPTORS[name]).parameters if k != "n_species")
        raise BadInput(
            f"descriptor {name}: the options are {known}, but these were given: {', '.join(k for k in options if k != 'n_species')}"
        ) from None
    return made


def make_network(
    descriptor: GridDescriptor, outputs: int, hidden: tuple[int, ...], members: int, seed: int, messages: MessageSettings | None
) -> LdosNetwork:
    """Build a network with random weights; raise `BadInput` for heads that do not divide the channels."""
    made = None
    if messages is not None:
        draw = torch.Generator().manual_seed(seed)
        made = MessageNetwork(messages, int(descriptor.settings()["n_species"]), descriptor.cutoff, members, draw)
    return LdosNetwork(descriptor.features, outputs, hidden, members, seed, made)


@dataclass
class ElectronModel:
    """Model trained by `nucleate electrons train`.

    Attributes:
        descriptor: Descriptor of grid points.
        network: Committee of networks.
        energies: (n_energies,) evenly spaced energies relative to the zero of energy in eV.
        sigma: Gaussian width of the levels in the training data in eV.
        ions: Pseudopotential ions by symbol, in the order of the descriptor's species.
        spacing: Grid spacing of the training data in Å.
        engine: Settings of the training data: functional, pseudopotential, cutoff.
        facts: Validation errors and similar data.
        zero: Zero of energy, see `levels/zero.py`.
        channels: What the outputs of the network are.
    """

    descriptor: GridDescriptor
    network: LdosNetwork
    energies: np.ndarray
    sigma: float
    ions: dict[str, Ion]
    spacing: float
    engine: dict[str, Any]
    facts: dict[str, Any]
    zero: Zero = "potential"
    channels: tuple[Channel, ...] = TOTAL

    @property
    def spin(self) -> bool:
        """Whether the model has both spins."""
        return "spin" in self.channels

    @property
    def insulator(self) -> bool:
        """Whether the occupations are those of the training data, all of which have a band gap."""
        return "occupied" in self.channels

    @property
    def density_channels(self) -> tuple[Channel, ...]:
        """Channels from which the density and, with spin, the spin density follow."""
        return ("occupied",) if self.insulator else self.channels

    def last_layer(self, channel: Channel = "total") -> tuple[Tensor, Tensor]:
        """Return weights (members, width, energies) and biases (members, energies) of the last layer for one of the channels."""
        first = len(self.energies) * self.channels.index(channel)
        part = slice(first, first + len(self.energies))
        return self.network.last[:, :, part], self.network.last_bias[:, part]

    def species(self, atoms: Atoms) -> Tensor:
        """Return the species index (n_atoms,) of each atom; raise `BadInput` for an element outside the training data."""
        missing = sorted(set(atoms.get_chemical_symbols()) - set(self.ions))
        if missing:
            raise BadInput(f"{', '.join(missing)}: not in the training data of the model, which contain {', '.join(self.ions)}")
        table = torch.full((120,), -1)
        for index, symbol in enumerate(self.ions):
            table[atomic_numbers[symbol]] = index
        return table[torch.tensor(atoms.numbers)]

    def nodes(self, atoms: Atoms, positions: Tensor, cell: Tensor) -> Tensor | None:
        """Return the features of the atoms that are sent to grid points, see `MessageNetwork.nodes`; None without messages.

        Args:
            atoms: Structure.
            positions: (n_atoms, 3) its positions in Å, float64; the result is differentiable in them.
            cell: (3, 3) its lattice vectors in Å, float64, likewise.
        """
        graph = self.graph(atoms, positions, cell)
        return None if graph is None or self.network.messages is None else self.network.messages.nodes(graph)

    def graph(self, atoms: Atoms, positions: Tensor, cell: Tensor) -> AtomGraph | None:
        """Return the graph between whose atoms messages are passed; None without messages. Arguments as for `nodes`."""
        messages = self.network.messages
        if messages is None:
            return None
        return AtomGraph.of(atoms, self.species(atoms), positions, cell, messages.settings.cutoff)

    def features(self, near: Surroundings, nodes: Tensor | None) -> Tensor:
        """Return the features of points, (blocks * points, features), or those of each member with messages from the atoms."""
        own = self.descriptor(near.points, near.atoms, near.species).flatten(0, 1)
        if self.network.messages is None or nodes is None:
            return own
        messages = self.network.messages(near.points, near.atoms, near.index, nodes)
        return torch.cat([own.expand(len(messages), -1, -1), messages], -1)

    def electrons(self, atoms: Atoms) -> float:
        """Return the number of valence electrons of a structure."""
        return sum(self.ions[symbol].charge for symbol in atoms.get_chemical_symbols())

    def absolute_energies(self, electrons: float, volume: Tensor) -> Tensor:
        """Return the (n_energies,) energies relative to the average electrostatic potential in eV, for a cell of a volume in Å³."""
        return torch.tensor(self.energies) + zero_of_energy(self.zero, electrons, volume)

    def grid(self, atoms: Atoms, spacing: float | None = None) -> Grid:
        """Return a grid at least as fine as that of the training data, with sizes suited for Fourier transforms.

        Raises:
            BadInput: The spacing is coarser than that of the training data, which would alias short waves of the density.
        """
        wanted = self.spacing if spacing is None else spacing
        if not wanted > 0:
            raise BadInput(f"grid spacing {wanted:g} Å: give a positive number")
        if wanted > self.spacing * 1.02:
            raise BadInput(
                f"a grid spacing of {wanted:g} Å is too coarse: the training data have {self.spacing:.3f} Å for a cutoff of "
                f"{self.engine.get('cutoff', float('nan')):g} eV"
            )
        # Tolerance of 2 %, because the grids of the training data vary.
        lengths = np.linalg.norm(atoms.cell.array, axis=1)
        n1, n2, n3 = (smooth_number(int(np.ceil(length / (1.02 * wanted) - 1e-9))) for length in lengths)
        return Grid(torch.tensor(atoms.cell.array), (n1, n2, n3))

    def save(self, path: Path) -> None:
        """Write the model; raise `StorageFailed` if this fails."""
        said = {
            "version": VERSION,
            "descriptor": self.descriptor.settings(),
            "network": self.network.description(),
            "sigma": self.sigma,
            "ions": [ion.as_dict() for ion in self.ions.values()],
            "spacing": self.spacing,
            "engine": self.engine,
            "facts": self.facts,
            "zero": self.zero,
            # Earlier versions read files without this key.
            **({} if self.channels == TOTAL else {"channels": self.channels}),
        }
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.network.state_dict().items()}
        tensors["energies"] = torch.tensor(self.energies)
        write_whole(path, save(tensors, {"nucleate_electrons": json.dumps(said)}))

    @classmethod
    def load(cls, path: Path) -> ElectronModel:
        """Read a model; raise `BadInput` if the file is not a model, truncated, inconsistent or of a newer version."""
        path = path / "model.safetensors" if path.is_dir() else path
        file = read_tensor_file(path, "model of electrons", "train one with: nucleate electrons train")
        said = file.header("nucleate_electrons", VERSION, ModelHeader)
        shape = said.network
        if said.descriptor.n_species != len(said.ions) or len({ion.symbol for ion in said.ions}) < len(said.ions):
            raise BadInput(f"{path}: the header has {len(said.ions)} ions for the {said.descriptor.n_species} species of the descriptor")
        energies = file.tensors.pop("energies", None)
        if said.channels not in TOGETHER:
            raise BadInput(f"{path}: the header has the channels {', '.join(said.channels)}, which do not belong together")
        if "occupied" in said.channels and (said.facts.edges is None or said.facts.gap is None):
            raise BadInput(f"{path}: the header of the insulator's model states no band gap; train it again")
        known = energies is not None and energies.dim() == 1 and energies.dtype == torch.float64
        if energies is None or not known or len(energies) * len(said.channels) != shape.outputs:
            raise BadInput(f"{path}: tensor energies: the length does not match the {shape.outputs} outputs of the network")
        if not (energies.diff() > 0).all():
            raise BadInput(f"{path}: tensor energies: the values must increase")
        with bounded(file):
            descriptor = make_descriptor(said.descriptor.model_dump())
        if descriptor.features != shape.features:
            raise BadInput(f"{path}: the header has a descriptor of {descriptor.features} features for a network of {shape.features}")
        network = file.fill(lambda: make_network(descriptor, shape.outputs, tuple(shape.hidden), shape.members, 0, shape.messages))
        network.requires_grad_(False)
        ions = {ion.symbol: Ion(**ion.model_dump()) for ion in said.ions}
        engine, facts = stated_only(said.engine), stated_only(said.facts)
        return cls(descriptor, network, energies.numpy(), said.sigma, ions, said.spacing, engine, facts, said.zero, said.channels)


def electron_model_facts(path: Path) -> dict[str, Any]:
    """Return elements, engine, functional and temperature (K, or None) of a model from its header, without its tensors.

    Raises:
        BadInput: The file is not an electron model, or its header is damaged.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    said = read_tensor_header(path, "model of electrons").header("nucleate_electrons", VERSION, ModelHeader)
    return {
        "elements": [ion.symbol for ion in said.ions],
        "engine": said.engine.engine,
        "functional": said.engine.functional,
        "temperature": said.facts.temperature,
        "members": said.network.members,
        "spin": "spin" in said.channels,
    }


def smooth_number(least: int) -> int:
    """Return the next number without prime factors larger than 5."""
    number = max(1, least)
    while True:
        rest = number
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return number
        number += 1
