"""Density emulator: a linear model of the electron density that provides a start for self-consistent calculations.

    n(r) - n_atoms(r) = sum_f w_f phi_f(r),

with the superposition of free atoms n_atoms and features phi_f of first and second order of the environment of a point: sums over atoms of
radial functions, and sums over pairs of products with a Legendre polynomial of the angle, which by the addition theorem are the power
spectrum p_nn'l of `descriptors/power_spectrum.py`. B. Focassio, M. Domina, U. Patil, A. Fazzio and S. Sanvito, npj Comput. Mater. 9, 87
(2023), doi 10.1038/s41524-023-01053-0 (there with Jacobi polynomials as radial functions).

The fit minimises the Coulomb energy of the density error,

    |d|² = 2 pi k V sum_(G != 0) |d_G|² / G² + c int d(r)² dr,

where the small second term controls short waves. Normal equations are accumulated over the snapshots. Their inverse is the covariance of
the weights: the expected error on a new structure is compared with the size of the correction, and a start that is expected to be worse
than superposed atoms is rejected.
"""

from __future__ import annotations

import json
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

from nucleate.crystals.atom_images import images
from nucleate.electrons.data.ground_state import Snapshot, check_engine
from nucleate.electrons.data.store import make_folder, read_snapshot, snapshot_paths
from nucleate.electrons.descriptors.power_spectrum import PowerSpectrum
from nucleate.electrons.emulator.gpaw_start import superposition
from nucleate.electrons.grid import Grid
from nucleate.electrons.model.blocks import block_indices, surroundings
from nucleate.electrons.model.header import EngineHeader, PowerHeader
from nucleate.electrons.model.slabs import batches
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import Element, check_apart
from nucleate.errors import BadInput, NucleateError
from nucleate.persist.files import write_whole
from nucleate.persist.tensors import Finite, Positive, Whole, bounded, read_tensor_file, stated_only
from nucleate.progress import Progress, Step, silent
from nucleate.units import COULOMB

VERSION = 1


class StartRefused(NucleateError):
    """The expected error of the emulator exceeds that of superposed atoms."""


class EmulatorTraining(BaseModel):
    """Settings of the emulator fit."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    cutoff: float = Field(5.0, gt=0, description="Å.")
    radial: int = Field(10, ge=2, description="Number of radial functions.")
    degree: int = Field(4, ge=0, description="Maximum degree of the Legendre polynomials.")
    local: float = Field(0.2, ge=0, description="Coefficient c of the norm in eV Å³.")
    ridge: float = Field(1e-9, ge=0, description="Ridge parameter relative to the largest curvature.")


class _Engine(EngineHeader):
    """Engine settings, which must match those of the calculations to start."""

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
    """Fitted linear density model.

    Attributes:
        descriptor: Descriptor of grid points.
        species: Symbols in the order of the descriptor's species.
        mean, scale: (features,) standardisation of the features.
        weights: (features,) weights in 1/Å³.
        covariance: (features, features) covariance of the weights, for error estimates.
        engine: Settings of the training data.
        facts: Errors of the fit.
        local: Coefficient c of the norm.
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
        """Return standardised features (points, features), float64."""
        missing = sorted(set(atoms.get_chemical_symbols()) - set(self.species))
        if missing:
            raise BadInput(f"{', '.join(missing)}: not in the training data of the emulator, which contain {', '.join(self.species)}")
        return (raw_features(self.descriptor, self.species, atoms, shape) - self.mean) * self.scale

    def save(self, path: Path) -> None:
        """Write the emulator; raise `StorageFailed` if this fails."""
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
        """Read an emulator; raise `BadInput` if the file is not an emulator, truncated or of a newer version."""
        path = path / "emulator.safetensors" if path.is_dir() else path
        file = read_tensor_file(path, "emulator", "fit one with: nucleate electrons fit-start")
        said = file.header("nucleate_emulator", VERSION, _Header)
        if said.descriptor.n_species != len(said.species) or len(set(said.species)) < len(said.species):
            raise BadInput(
                f"{path}: the header has {len(said.species)} elements for the {said.descriptor.n_species} species of the descriptor"
            )
        with bounded(file):
            descriptor = PowerSpectrum(**said.descriptor.model_dump(exclude={"name"}))
        n = descriptor.features
        file.check({name: ((n, n) if name == "covariance" else (n,), torch.float64) for name in ("mean", "scale", "weights", "covariance")})
        engine, facts = stated_only(said.engine), stated_only(said.facts)
        return cls(descriptor, said.species, **file.tensors, engine=engine, facts=facts, local=said.local)


@torch.no_grad()
def raw_features(descriptor: PowerSpectrum, species: list[str], atoms: Atoms, shape: tuple[int, int, int]) -> Tensor:
    """Return the features (points, features) of a whole grid, float64."""
    positions, grid = torch.tensor(atoms.positions), Grid(torch.tensor(atoms.cell.array), shape)
    around = images(positions, grid.cell, descriptor.cutoff)
    kinds = torch.tensor([species.index(symbol) for symbol in atoms.get_chemical_symbols()])
    found = torch.empty(grid.size, descriptor.features, dtype=torch.float64)
    for index in batches(block_indices(shape)):
        near = surroundings(index, grid, positions, kinds, around, descriptor.cutoff, torch.float64)
        found[index.flatten()] = descriptor(near.points, near.atoms, near.species).flatten(0, 1)
    return found


def _standard(
    descriptor: PowerSpectrum, species: list[str], heads: list[Snapshot], shapes: list[tuple[int, int, int]]
) -> tuple[Tensor, Tensor]:
    """Return mean and inverse standard deviation of the features over all snapshots."""
    points, total, squares = 0, torch.zeros(descriptor.features, dtype=torch.float64), torch.zeros(descriptor.features, dtype=torch.float64)
    for head, shape in zip(heads, shapes, strict=True):
        phi = raw_features(descriptor, species, head.atoms, shape)
        points, total, squares = points + len(phi), total + phi.sum(0), squares + phi.square().sum(0)
    mean = total / points
    spread = (squares / points - mean**2).clamp(min=0).sqrt()
    return mean, 1 / torch.clamp(spread, min=1e-4 * float(spread.max()))


def half_coulomb(values: Tensor, grid: Grid, local: float) -> Tensor:
    """Transform columns (columns, points) to real (columns, 2 waves) whose inner products are those of the norm.

    The averages of the columns are removed, because the charge of a density is known.
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
    """Return the squared norm of a density error (points,) in eV."""
    return float(half_coulomb(difference.reshape(1, -1), grid, local).square().sum())


def fit_emulator(data: list[Path], out: Path, settings: EmulatorTraining, progress: Progress = silent) -> Emulator:
    """Fit an emulator to the densities of sampled snapshots.

    Args:
        data: Folders of snapshots.
        out: Folder for emulator.safetensors.
        settings: Settings of features and norm.
        progress: Called with a `Step` after each snapshot.

    Raises:
        BadInput: There are fewer than two snapshots, or a snapshot has no density.
    """
    make_folder(out)
    paths = [path for folder in data for path in snapshot_paths(folder)]
    heads = [read_snapshot(path, ldos=False) for path in paths]
    if len(heads) < 2:
        raise BadInput("an emulator requires at least two snapshots, because errors are estimated by cross-validation")
    for path, head in zip(paths, heads, strict=True):
        if head.density is None:
            raise BadInput(f"{path}: the snapshot contains no density; imported snapshots cannot be used for an emulator")
        if head.spin_density is not None:
            raise BadInput(f"{path}: the snapshot is spin-polarised; the emulator provides densities of spin-paired calculations alone")
        check_engine(f"{path}: not compatible with {paths[0]}:", head.engine, heads[0].engine)
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
        progress(Step("snapshots", number + 1, len(heads)))
    gram, projection = torch.stack(grams), torch.stack(projections)

    def solved(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        ridge = settings.ridge * left.diagonal().max() * torch.eye(len(left), dtype=left.dtype)
        return torch.linalg.solve(left + ridge, right), torch.linalg.inv(left + ridge)

    # The noise is the ratio of the leave-one-out errors to those predicted by the covariance.
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
    return emulator


@dataclass(frozen=True)
class Start:
    """Starting density.

    Attributes:
        density: (n_1, n_2, n_3) density in 1/Å³ with the exact charge.
        correction: Squared norm of the difference to superposed atoms in eV.
        expected_error: Squared norm of the expected error in eV.
    """

    density: np.ndarray
    correction: float
    expected_error: float


def starting_density(emulator: Emulator, atoms: Atoms, settings: GroundStateSettings, shape: tuple[int, int, int]) -> Start:
    """Predict the starting density of a structure.

    Raises:
        BadInput: The element, cutoff or pseudopotential differs from the training data.
        StartRefused: The expected error exceeds that of superposed atoms.
    """
    for key, own in (("cutoff", settings.cutoff), ("pseudopotential", settings.pseudopotential)):
        if emulator.engine[key] != own:
            raise BadInput(f"the emulator was fitted with {key} {emulator.engine[key]}, but the calculation uses {own}")
    check_apart(atoms, "the emulator")
    grid = Grid(torch.tensor(atoms.cell.array), shape)
    phi = emulator.features(atoms, shape)
    difference = phi @ emulator.weights
    difference -= difference.mean()
    transformed = half_coulomb(phi.T.contiguous(), grid, emulator.local)
    expected = float((emulator.covariance * (transformed @ transformed.T)).sum()) + emulator.facts["residual"] * len(atoms)
    correction = norm(difference, grid, emulator.local)
    # Far from the training data the correction grows with its error, so compare with the error of atoms in the fit.
    known = len(atoms) * float(np.mean(emulator.facts["atoms_error"]))
    if expected > min(correction, known):
        raise StartRefused(
            f"the expected error of the density is {expected / len(atoms):.2g} eV/atom (Coulomb norm); superposed atoms have "
            f"{known / len(atoms):.2g} in the training data and differ by {correction / len(atoms):.2g}: the structure differs too much"
            " from the training data; start from atoms"
        )
    density = superposition(atoms, settings, shape) + difference.view(shape).numpy()
    return Start(density, correction, expected)
