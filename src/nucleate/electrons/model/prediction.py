"""Prediction: sums over the grid, slab by slab, without the local density of states ever being formed.

With d(E, r) = W h(r) + b the density of states is W sum_r h(r) + ..., and the density of occupation weights w is (W^T w) . h(r): pass 1
sums h and gives the Fermi level, pass 2 contracts. Forces and stress are a third pass, the gradient of

    F = F_D(D, mu) + F_n(n, R, cell) + F_ions(R, cell),   sum w(mu) D = N,

through h alone: with B(r) = dF_n/dn(r), lambda = dF/dmu at fixed d, and s = dw/dmu,

    dF/dd_i(r) = [dF_D/dD_i - lambda w_i / sum(s D)] v + B(r) w_i,   lambda = dF_D/dmu + sum_r B(r) (s . d(r)).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.electrons.constants import BOLTZMANN
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.occupation import Occupation, check_temperature, occupation
from nucleate.electrons.levels.smearing import unsmeared_occupation
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import OnEvent, Slabs
from nucleate.electrons.species import check_apart, ions_of
from nucleate.electrons.terms.exchange_correlation import Functional
from nucleate.electrons.terms.free_energy import DensityTerms, EnergyTerms, density_terms, free_energy
from nucleate.electrons.terms.hartree import hartree_energy
from nucleate.electrons.terms.large_cells import density_terms_in_planes
from nucleate.errors import BadInput, RunFolderError
from nucleate.persist.files import write_whole

FUNCTIONALS: dict[str, Functional] = {"LDA": "LDA", "PBE": "PBE"}
LARGE = 500_000
"""Points from which the terms of the density are done plane by plane, on the grid itself."""


GAP = 1e-6
"""States within kT of the Fermi level, relative to the electrons, below which there is a gap."""
MISSING = 1e-4
"""Share of the electrons that a window of energies may cut off."""


def silent(phase: str, done: int, total: int) -> None:
    """Hears of progress and says nothing."""


@dataclass(frozen=True)
class Levels:
    """Density of states and what it alone decides.

    Attributes:
        energies: (n_energies,), eV.
        dos: (n_energies,), of the committee's mean, 1/eV.
        dos_members: (members, n_energies).
        mu: Fermi level, eV.
        weights: of the energies at the Fermi level.
        band: E_b, eV.
        entropy: S in units of Boltzmann's constant.
        members: (members, 2): Fermi level and band energy of each member.
    """

    energies: Tensor
    dos: Tensor
    dos_members: Tensor
    mu: Tensor
    weights: Occupation
    band: Tensor
    entropy: Tensor
    members: Tensor


def weigher(energies: Tensor, sigma: float, temperature: float, correct: bool = True) -> Callable[[Tensor], Occupation]:
    """Weights of the energies as a function of the chemical potential, with the smearing undone unless told not to."""
    check_temperature(temperature)
    spacing = float(energies[1] - energies[0])

    def weigh(mu: Tensor) -> Occupation:
        weights = occupation(energies, mu, temperature)
        return unsmeared_occupation(weights, sigma, spacing) if correct else weights

    return weigh


def levels_of(model: ElectronModel, hidden_sums: Tensor, grid: Grid, electrons: float, temperature: float) -> Levels:
    """From the sum of h over a grid.

    Args:
        model: the model.
        hidden_sums: (members, width), float64.
        grid: the grid.
        electrons: valence electrons.
        temperature: of the electrons, K.

    Raises:
        BadInput: no Fermi level inside the window of energies.
    """
    network, voxel = model.network, float(grid.voxel)
    energies = torch.tensor(model.energies)
    each = voxel * (torch.einsum("mh,mhe->me", hidden_sums, network.last.double()) + grid.size * network.last_bias.double())
    dos = each.mean(0)
    weigh = weigher(energies, model.sigma, temperature)
    plain = weigher(energies, model.sigma, temperature, correct=False)

    def level_of(states: Tensor) -> Tensor:
        return fermi_level(energies, states, electrons, weigh, near=float(fermi_level(energies, states, electrons, plain)))

    mu = level_of(dos)
    _check_window(energies, dos, mu, temperature, electrons)
    weights = weigh(mu)
    rows = []
    for own in each:
        level = level_of(own)
        rows.append(torch.stack([level, weigh(level).energy @ own]))
    return Levels(energies, dos, each, mu, weights, weights.energy @ dos, weights.entropy @ dos, torch.stack(rows))


def _check_window(energies: Tensor, dos: Tensor, mu: Tensor, temperature: float, electrons: float) -> None:
    """Raise `BadInput` if electrons would occupy states above the window of energies."""
    kt = BOLTZMANN * temperature
    above = kt * float(dos[-1].clamp(min=0)) * float(torch.nn.functional.softplus((mu - energies[-1]) / kt))
    if above > MISSING * electrons:
        raise BadInput(
            f"electrons at {temperature:g} K would occupy states above the window of energies, which ends at {float(energies[-1]):g} eV, "
            f"{float(energies[-1] - mu):.2f} eV above the Fermi level: {above:.2g} are missing; sample with a higher --high"
        )


def contraction(model: ElectronModel, weights: Tensor) -> tuple[np.ndarray, float]:
    """What turns h into sum_E w_E d(E, r) of the committee's mean: (members, width) and the constant."""
    network = model.network
    turn = (network.last.double() @ weights) / network.members
    return turn.numpy(), float((network.last_bias.double() @ weights).mean())


@dataclass(frozen=True)
class Electrons:
    """What a model says of a structure.

    Attributes:
        levels: density of states and Fermi level.
        density: (n_1, n_2, n_3), 1/Å³, scaled to the exact number of electrons.
        grid: where it lives.
        terms: of the free energy.
        forces: (n_atoms, 3), eV/Å, or None.
        stress: (3, 3), eV/Å³, or None.
        sigma_band: spread of the band energy over the committee, eV/atom.
        charge: electrons of the density before it was scaled.
    """

    levels: Levels
    density: Tensor
    grid: Grid
    terms: EnergyTerms
    forces: Tensor | None
    stress: Tensor | None
    sigma_band: float
    charge: float


def predict(
    model: ElectronModel,
    atoms: Atoms,
    temperature: float,
    spacing: float | None = None,
    shape: tuple[int, int, int] | None = None,
    forces: bool = False,
    overlap: bool = False,
    workers: int = 0,
    path: Path | None = None,
    scratch: Path | None = None,
    progress: OnEvent = silent,
) -> Electrons:
    """Everything a model says of a structure.

    Memory holds a few numbers a point of the grid, whatever the number of energies; with forces some 600 bytes a point. In grids of more
    than 500,000 points exchange and correlation are integrated on the grid itself and not on one twice as fine (measured: below 0.01
    meV/atom in aluminium). Where the training data's functional is unknown (imported ones), exchange-correlation, core and free energy
    are NaN.

    Args:
        model: the model.
        atoms: periodic structure of species that it knows.
        temperature: of the electrons, K.
        spacing: of the grid, Å; unset: that of the training data.
        shape: of the grid, in place of a spacing.
        forces: compute forces and stress, for about four times the cost.
        overlap: count the overlap of GPAW's Gaussian ions, to compare with GPAW.
        workers: processes that share the slabs; 0: this one alone.
        path: the model's file; needed with workers.
        scratch: folder where finished slabs are kept, from which a stopped prediction goes on.
        told: hears of phases and slabs done.

    Raises:
        BadInput: a temperature, grid or species that cannot be used; a scratch folder of another prediction.
    """
    check_temperature(temperature)
    grid = model.grid(atoms, spacing) if shape is None else Grid(torch.tensor(atoms.cell.array), shape)
    model.species(atoms)
    check_apart(atoms, "the model")
    functional = model.engine.get("functional", "unknown")
    if forces and functional not in FUNCTIONALS:
        raise BadInput(
            f"forces need the functional and pseudopotential of the training data; these ({model.engine.get('engine')}) do not say them"
        )
    electrons = model.electrons(atoms)
    if scratch is not None:
        _claim(scratch, model, atoms, grid.shape)
    slabs = Slabs(model, atoms, grid.shape, workers, path, scratch, progress)
    try:
        sums = np.zeros((model.network.members, model.network.last.shape[1]))
        for _, part in slabs.ask("density of states", "sums", "sums", lambda slab: ()):
            sums += part
        levels = levels_of(model, torch.from_numpy(sums), grid, electrons, temperature)
        turn, constant = contraction(model, levels.weights.number)
        density = np.empty(grid.shape)
        for slab, part in slabs.ask("density", "contracted", f"density-{temperature:g}K", lambda slab: (turn[None],)):
            density[slabs.planes(slab)] = part[0]
        density += constant
        charge = float(density.sum()) * float(grid.voxel)
        # float32 loses a millionth of the charge; the energy terms want all of it.
        density *= electrons / charge
        positions = torch.tensor(atoms.positions, requires_grad=forces)
        cell = torch.tensor(atoms.cell.array, requires_grad=forces)
        on_cell = Grid(cell, grid.shape)
        field = torch.from_numpy(density)
        leaf = field.requires_grad_() if forces else field
        ions = ions_of(atoms, model.ions)
        of_density = _density_terms(leaf, on_cell, functional, forces)
        terms = free_energy(levels.band, levels.entropy, of_density, positions, cell, ions, temperature, overlap=overlap)
        if functional not in FUNCTIONALS:
            terms = replace(terms, core=terms.core * torch.nan)
        found = _derivatives(slabs, model, atoms, grid, levels, terms, leaf, positions, cell, temperature) if forces else (None, None)
    except BaseException:
        slabs.close(wait=False)
        raise
    slabs.close()
    spread = float(levels.members[:, 1].std()) / len(atoms) if model.network.members > 1 else float("nan")
    detached = EnergyTerms(**{name: value.detach() for name, value in vars(terms).items()})
    return Electrons(levels, field.detach(), grid, detached, found[0], found[1], spread, charge)


def _density_terms(density: Tensor, grid: Grid, functional: str, forces: bool) -> DensityTerms:
    if functional not in FUNCTIONALS:
        unknown = torch.tensor(torch.nan, dtype=torch.float64)
        return DensityTerms(hartree_energy(density, grid), unknown, unknown)
    if grid.size < LARGE:
        return density_terms(density, grid, FUNCTIONALS[functional])
    if functional == "LDA" and not forces:
        return density_terms_in_planes(density, grid)
    return density_terms(density, grid, FUNCTIONALS[functional], fine=1)


def _claim(scratch: Path, model: ElectronModel, atoms: Atoms, shape: tuple[int, int, int]) -> None:
    """Make the folder this prediction's; raise `BadInput` if it is another's."""
    digest = hashlib.sha256()
    for part in (
        atoms.positions,
        atoms.cell.array,
        atoms.numbers,
        model.energies,
        *(w.numpy() for w in model.network.state_dict().values()),
    ):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(repr((shape, model.descriptor.settings())).encode())
    mark = scratch / "prediction"
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            if any(not path.name.endswith(".part") for path in scratch.iterdir()):
                raise BadInput(f"{scratch}: is not empty and holds no prediction; choose another folder")
            write_whole(mark, digest.hexdigest())
        if mark.read_text(encoding="utf-8") != digest.hexdigest():
            raise BadInput(f"{scratch}: holds slabs of another structure, grid or model; choose another folder, or delete it")
    except OSError as error:
        raise RunFolderError(f"{scratch}: cannot be used: {error.strerror}") from error


def _derivatives(
    slabs: Slabs,
    model: ElectronModel,
    atoms: Atoms,
    grid: Grid,
    levels: Levels,
    terms: EnergyTerms,
    density: Tensor,
    positions: Tensor,
    cell: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Forces and stress: see the head of this file."""
    kt, voxel = BOLTZMANN * temperature, float(grid.voxel)
    by_density, by_positions, by_cell = (part.numpy() for part in torch.autograd.grad(terms.free, [density, positions, cell]))
    weigh = weigher(levels.energies, model.sigma, temperature)
    mu = levels.mu.detach().requires_grad_()
    at = weigh(mu)
    (by_mu,) = torch.autograd.grad(at.energy @ levels.dos - kt * (at.entropy @ levels.dos), mu)
    slope, constant = contraction(model, levels.weights.slope)
    multiplier = float(by_mu) + float(by_density.sum()) * constant
    for slab, part in slabs.ask("Fermi level", "contracted", f"slope-{temperature:g}K", lambda slab: (slope[None],)):
        multiplier += float((by_density[slabs.planes(slab)] * part[0]).sum())
    number, states = levels.weights.number, levels.weights.slope @ levels.dos
    if float(states) * kt < GAP * model.electrons(atoms):
        raise BadInput("no states at the Fermi level: forces need its derivative, which a gap does not have; this is a method for metals")
    by_dos = levels.weights.energy - kt * levels.weights.entropy - multiplier * number / states
    same, _ = contraction(model, voxel * by_dos)
    local, _ = contraction(model, number)
    array = atoms.cell.array
    # The density of states also grows with the volume of a voxel, at a fixed d.
    force, strain = by_positions, by_cell + float(by_dos @ levels.dos) * np.linalg.inv(array).T
    for _, part in slabs.ask("forces", "gradient", f"forces-{temperature:g}K", lambda slab: (same, local, by_density[slabs.planes(slab)])):
        force, strain = force + part[:-3], strain + part[-3:]
    # Positions and cell vectors turn alike under a strain: dF/d(strain) = R^T dF/dR + C^T dF/dC.
    virial = atoms.positions.T @ force + array.T @ strain
    return torch.from_numpy(-force), torch.from_numpy((virial + virial.T) / (2 * atoms.get_volume()))
