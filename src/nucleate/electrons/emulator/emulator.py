"""The emulator: a linear model of the density, made to start a self-consistent calculation.

    n(r) - n_atoms(r) = sum_f w_f phi_f(r),

n_atoms the superposition of free atoms, phi_f the features of order one and two of a point's surroundings: sums over atoms of functions of
their distance, and over pairs of them of products with a Legendre polynomial of the angle, which by the addition theorem are the power
spectrum p_nn'l of `descriptors/power_spectrum.py`. B. Focassio, M. Domina, U. Patil, A. Fazzio and S. Sanvito, npj Comput. Mater. 9, 87
(2023), doi 10.1038/s41524-023-01053-0 (there with Jacobi polynomials as radial functions).

What a wrong density costs is the Coulomb energy of its error, so that is what the fit makes small:

    |d|² = 2 pi k V sum_(G != 0) |d_G|² / G² + c int d(r)² dr,

the second part a small one that keeps short waves in check. Normal equations are summed up snapshot by snapshot. Their inverse is also the
covariance of the weights: the error expected on a new structure is compared with the size of the correction itself, and a start that is
expected to be worse than atoms is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save
from torch import Tensor

from nucleate.electrons.constants import COULOMB
from nucleate.electrons.data.ground_state import Snapshot, check_engine
from nucleate.electrons.data.store import make_folder, read_snapshot, snapshot_paths
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.emulator.gpaw_start import superposition
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.blocks import block_indices, images, surroundings
from nucleate.electrons.model.model import EngineHeader, PowerHeader
from nucleate.electrons.model.slabs import batches
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import Element, check_apart
from nucleate.errors import BadInput, NucleateError
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import Finite, Positive, Whole, bounded, read_tensor_file, stated_only

VERSION = 1
OnEvent = Callable[[str, dict[str, Any]], None]


class StartRefused(NucleateError):
    """The emulator expects its density to be a worse start than atoms."""


class EmulatorTraining(BaseModel):
    """How an emulator is fitted."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(5.0, gt=0, description="Å.")
    radial: int = Field(10, ge=2, description="Radial functions.")
    degree: int = Field(4, ge=0, description="Largest degree of the Legendre polynomials.")
    local: float = Field(0.2, ge=0, description="c of the norm, eV Å³.")
    ridge: float = Field(1e-9, ge=0, description="Relative to the largest curvature.")


class _Engine(EngineHeader):
    """An emulator starts calculations of the same settings: it has to know them."""

    cutoff: Positive


class _Facts(BaseModel):
    model_config = ConfigDict(extra="allow")

    residual: Finite
    atoms_error: list[Finite] = Field(min_length=1)
    left_out_error: list[Finite] = Field(min_length=1)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    version: Whole
    descriptor: PowerHeader
    species: list[Element] = Field(min_length=1, max_length=118)
    engine: _Engine
    facts: _Facts
    local: Annotated[Finite, Field(ge=0)]


@dataclass
class Emulator:
    """A fitted linear density model.

    Attributes:
        descriptor: features of a point.
        species: symbols in the order of the descriptor's species.
        mean, scale: (features,) of standardised features.
        weights: (features,), 1/Å³.
        covariance: (features, features) of the weights, for errors.
        engine: what made the training data.
        facts: errors at training.
        local: c of the norm.
    """

    descriptor: PowerSpectrum
    species: list[str]
    mean: Tensor
    scale: Tensor
    weights: Tensor
    covariance: Tensor
    engine: dict[str, Any]
    facts: dict[str, Any]
    local: float

    def features(self, atoms: Atoms, shape: tuple[int, int, int]) -> Tensor:
        """(points, features), standardised, float64."""
        missing = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if missing:
            raise BadInput(f"{', '.join(missing)}: the emulator has not seen this; it knows {', '.join(self.species)}")
        return (raw_features(self.descriptor, self.species, atoms, shape) - self.mean) * self.scale

    def save(self, path: Path) -> None:
        """Write it; raises `StorageFailed` if the disk will not."""
        said = {
            "version": VERSION,
            "descriptor": self.descriptor.settings(),
            "species": self.species,
            "engine": self.engine,
            "facts": self.facts,
            "local": self.local,
        }
        tensors = {"mean": self.mean, "scale": self.scale, "weights": self.weights, "covariance": self.covariance}
        write_whole(path, save({k: v.contiguous() for k, v in tensors.items()}, {"nucleate_emulator": json.dumps(said)}))

    @classmethod
    def load(cls, path: Path) -> Emulator:
        """Read one; raises `BadInput` for what is none, truncated or of a newer version."""
        path = path / "emulator.safetensors" if path.is_dir() else path
        file = read_tensor_file(path, "emulator", "fit one with: nucleate electrons fit-start")
        said = file.header("nucleate_emulator", VERSION, _Header)
        if said.descriptor.n_species != len(said.species) or len(set(said.species)) < len(said.species):
            raise BadInput(
                f"{path}: its header has {len(said.species)} elements for the {said.descriptor.n_species} species of its descriptor"
            )
        with bounded(file):
            descriptor = PowerSpectrum(**said.descriptor.model_dump(exclude={"name"}))
        n = descriptor.features
        file.check({name: ((n, n) if name == "covariance" else (n,), torch.float64) for name in ("mean", "scale", "weights", "covariance")})
        engine, facts = stated_only(said.engine), stated_only(said.facts)
        return cls(descriptor, said.species, **file.tensors, engine=engine, facts=facts, local=said.local)


@torch.no_grad()
def raw_features(descriptor: PowerSpectrum, species: list[str], atoms: Atoms, shape: tuple[int, int, int]) -> Tensor:
    """(points, features) of a whole grid, float64."""
    positions, grid = torch.tensor(atoms.positions), Grid(torch.tensor(atoms.cell.array), shape)
    around = images(positions, grid.cell, descriptor.cutoff)
    kinds = torch.tensor([species.index(symbol) for symbol in atoms.get_chemical_symbols()])
    found = torch.empty(grid.size, descriptor.features, dtype=torch.float64)
    for index in batches(block_indices(shape)):
        near = surroundings(index, grid, positions, kinds, around, descriptor.cutoff, torch.float64)
        found[index.flatten()] = descriptor(*near).flatten(0, 1)
    return found


def _standard(
    descriptor: PowerSpectrum, species: list[str], heads: list[Snapshot], shapes: list[tuple[int, int, int]]
) -> tuple[Tensor, Tensor]:
    """Mean and inverse spread of the features over all snapshots."""
    points, total, squares = 0, torch.zeros(descriptor.features, dtype=torch.float64), torch.zeros(descriptor.features, dtype=torch.float64)
    for head, shape in zip(heads, shapes, strict=True):
        phi = raw_features(descriptor, species, head.atoms, shape)
        points, total, squares = points + len(phi), total + phi.sum(0), squares + phi.square().sum(0)
    mean = total / points
    spread = (squares / points - mean**2).clamp(min=0).sqrt()
    return mean, 1 / torch.clamp(spread, min=1e-4 * float(spread.max()))


def half_coulomb(values: Tensor, grid: Grid, local: float) -> Tensor:
    """Columns transformed so that their plain inner products are those of the norm: (columns, points) to (columns, 2 waves) real.

    Columns' averages drop out: a density's charge is known.
    """
    columns = len(values)
    coefficients = torch.fft.rfftn(values.view(columns, *grid.shape), dim=(1, 2, 3), norm="forward")
    squared = grid.waves().square().sum(-1)
    squared[0, 0, 0] = torch.inf
    kernel = grid.volume * (2 * torch.pi * COULOMB / squared + local)
    kernel[0, 0, 0] = 0
    weight = (kernel * grid.multiplicity()).sqrt()
    return torch.view_as_real(coefficients * weight).reshape(columns, -1)


def norm(difference: Tensor, grid: Grid, local: float) -> float:
    """Square of the norm of an error of the density (points,), eV."""
    return float(half_coulomb(difference.reshape(1, -1), grid, local).square().sum())


def fit_emulator(data: list[Path], out: Path, settings: EmulatorTraining, progress: OnEvent = lambda kind, facts: None) -> Emulator:
    """Fit to the densities of sampled snapshots.

    Args:
        data: folders of snapshots.
        out: folder for emulator.safetensors.
        settings: features and norm.
        told: hears of `snapshot` and `fitted`.

    Raises:
        BadInput: fewer than two snapshots, or some without a density.
    """
    make_folder(out)
    paths = [path for folder in data for path in snapshot_paths(folder)]
    heads = [read_snapshot(path, ldos=False) for path in paths]
    if len(heads) < 2:
        raise BadInput("an emulator needs two snapshots at least: the error on one is judged by the others")
    for path, head in zip(paths, heads, strict=True):
        if head.density is None:
            raise BadInput(f"{path}: holds no density; imported snapshots cannot start calculations")
        check_engine(f"{path}: does not go with {paths[0]}:", head.engine, heads[0].engine)
    species = sorted({s for head in heads for s in head.atoms.get_chemical_symbols()}, key=lambda s: atomic_numbers[s])
    descriptor = PowerSpectrum(len(species), settings.cutoff, settings.radial, settings.degree, cubic=False)
    ground = GroundStateSettings(cutoff=heads[0].engine["cutoff"], pseudopotential=heads[0].engine["pseudopotential"])
    shapes = []
    for head in heads:
        assert head.density is not None
        shapes.append((head.density.shape[0], head.density.shape[1], head.density.shape[2]))
    mean, scale = _standard(descriptor, species, heads, shapes)
    grams, projections, sizes = [], [], []
    for number, (head, shape) in enumerate(zip(heads, shapes, strict=True)):
        grid = Grid(torch.tensor(head.atoms.cell.array), shape)
        phi = raw_features(descriptor, species, head.atoms, shape)
        phi = half_coulomb(((phi - mean) * scale).T.contiguous(), grid, settings.local)
        wanted = torch.tensor(head.density - superposition(head.atoms, ground, grid.shape)).reshape(1, -1)
        target = half_coulomb(wanted, grid, settings.local)[0]
        grams.append(phi @ phi.T)
        projections.append(phi @ target)
        sizes.append(float(target.square().sum()))
        progress("snapshot", {"done": number + 1, "total": len(heads)})
    gram, projection = torch.stack(grams), torch.stack(projections)

    def solved(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        ridge = settings.ridge * left.diagonal().max() * torch.eye(len(left), dtype=left.dtype)
        return torch.linalg.solve(left + ridge, right), torch.linalg.inv(left + ridge)

    # The error on each snapshot with the others' weights, and what the covariance would have said of it: their ratio is the noise.
    errors, expected = [], []
    for k in range(len(heads)):
        weights, inverse = solved(gram.sum(0) - gram[k], projection.sum(0) - projection[k])
        errors.append(float(weights @ gram[k] @ weights - 2 * weights @ projection[k] + sizes[k]))
        expected.append(float((inverse * gram[k]).sum()))
    weights, inverse = solved(gram.sum(0), projection.sum(0))
    residual = sum(
        float(weights @ gram[k] @ weights - 2 * weights @ projection[k] + sizes[k]) / len(heads[k].atoms) for k in range(len(heads))
    ) / len(heads)
    beyond = sum(max(0.0, error - residual * len(head.atoms)) for error, head in zip(errors, heads, strict=True))
    noise = beyond / sum(expected)
    atoms = [len(head.atoms) for head in heads]
    facts = {
        "snapshots": [str(path) for path in paths],
        "left_out_error": [error / n for error, n in zip(errors, atoms, strict=True)],
        "atoms_error": [size / n for size, n in zip(sizes, atoms, strict=True)],
        "residual": residual,
    }
    emulator = Emulator(descriptor, species, mean, scale, weights, noise * inverse, heads[0].engine, facts, settings.local)
    emulator.save(out / "emulator.safetensors")
    progress("fitted", facts)
    return emulator


@dataclass(frozen=True)
class Start:
    """A density to start from.

    Attributes:
        density: (n_1, n_2, n_3), 1/Å³, with the exact charge.
        correction: norm² of its difference to superposed atoms, eV.
        expected_error: norm² of its error, eV.
    """

    density: np.ndarray
    correction: float
    expected_error: float


def starting_density(emulator: Emulator, atoms: Atoms, settings: GroundStateSettings, shape: tuple[int, int, int]) -> Start:
    """The emulator's density of a structure.

    Raises:
        BadInput: an element, cutoff or pseudopotential that it was not fitted to.
        StartRefused: its error is expected to exceed that of superposed atoms.
    """
    for key, own in (("cutoff", settings.cutoff), ("pseudopotential", settings.pseudopotential)):
        if emulator.engine[key] != own:
            raise BadInput(f"the emulator was fitted to {key} {emulator.engine[key]}, the calculation has {own}")
    check_apart(atoms, "the emulator")
    grid = Grid(torch.tensor(atoms.cell.array), shape)
    phi = emulator.features(atoms, shape)
    difference = phi @ emulator.weights
    difference -= difference.mean()
    transformed = half_coulomb(phi.T.contiguous(), grid, emulator.local)
    expected = float((emulator.covariance * (transformed @ transformed.T)).sum()) + emulator.facts["residual"] * len(atoms)
    correction = norm(difference, grid, emulator.local)
    # Far from what it was fitted to the correction grows with its error: what atoms cost in the fit is the measure there.
    known = len(atoms) * float(np.mean(emulator.facts["atoms_error"]))
    if expected > min(correction, known):
        raise StartRefused(
            f"the emulator expects an error of {expected / len(atoms):.2g} eV/atom (Coulomb norm) of its density; superposed atoms had "
            f"{known / len(atoms):.2g} where it was fitted, and differ here by {correction / len(atoms):.2g}: this structure is too unlike"
            " those; start from atoms"
        )
    density = superposition(atoms, settings, shape) + difference.view(shape).numpy()
    return Start(density, correction, expected)
