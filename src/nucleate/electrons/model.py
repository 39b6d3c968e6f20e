"""A trained model of the electrons of a material: descriptor, network, and what the physics needs to know."""

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
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nucleate.electrons.descriptors.base import GridDescriptor
from nucleate.electrons.descriptors.bispectrum import Bispectrum
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.grid import Grid
from nucleate.electrons.network import LdosNetwork
from nucleate.electrons.species import Ion
from nucleate.errors import BadInput
from nucleate.storage import write_whole

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
        """Read one; raises `BadInput` for what is none, truncated or of a newer version."""
        path = path / "model.safetensors" if path.is_dir() else path
        if not path.is_file():
            raise BadInput(f"{path}: no such model; train one with: nucleate electrons train")
        try:
            with safe_open(path, framework="pt") as stream:
                said = json.loads((stream.metadata() or {})["nucleate_electrons"])
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, OSError) as error:
            raise BadInput(f"{path}: is not a whole model of electrons ({type(error).__name__})") from error
        if said["version"] > VERSION:
            raise BadInput(f"{path}: written by a newer version of nucleate (format {said['version']}); upgrade")
        shape = said["network"]
        network = LdosNetwork(shape["features"], shape["outputs"], tuple(shape["hidden"]), shape["members"])
        energies = tensors.pop("energies").numpy()
        network.load_state_dict(tensors)
        network.requires_grad_(False)
        ions = {ion["symbol"]: Ion(**ion) for ion in said["ions"]}
        return cls(
            make_descriptor(said["descriptor"]), network, energies, said["sigma"], ions, said["spacing"], said["engine"], said["facts"]
        )


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
