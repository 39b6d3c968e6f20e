"""Prediction by sums over the grid, slab by slab, without storing the local density of states.

With d(E, r) = W h(r) + b the density of states is W sum_r h(r) + ..., and the density for occupation weights w is (W^T w) . h(r). One pass
sums h, which determines the Fermi level, and computes the density at trial levels. Forces and stress require another pass for the gradient
of

    F = F_D(D, mu) + F_n(n, R, cell) + F_ions(R, cell),   sum w(mu) D = N,

through h, where B(r) = dF_n/dn(r), lambda = dF/dmu at fixed d, and s = dw/dmu,

    dF/dd_i(r) = [dF_D/dD_i - lambda w_i / sum(s D)] v + B(r) w_i,   lambda = dF_D/dmu + sum_r B(r) (s . d(r)).

With spin, the network has further outputs q(E, r), the local density of states of spin up minus that of spin down. The same weights give
the spin density m(r), on which F_n depends as well: C(r) = dF_n/dm(r) adds sum_r C(r) (s . q(r)) to lambda, and dF/dq_i(r) = C(r) w_i.

Insulators (`state_sums.py`) have fixed weights w and e of the part o(E, r) of the occupied levels, and n = k (w . o), E_b = k v sum_r e . o
with k = N / (v sum_r w . o), so that

    dF/do_i(r) = k [v (e_i - w_i (E_b + sum_r B n) / N) + B(r) w_i].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.heat_capacity import heat_capacity
from nucleate.electrons.levels.occupation import check_temperature
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.levels.zero import zero_of_energy
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Slabs
from nucleate.electrons.model.state_sums import (
    Levels,
    by_states_of_insulator,
    by_states_of_metal,
    check_gap,
    contraction,
    contractions,
    filled_occupation,
    levels_of,
)
from nucleate.electrons.model.trial_levels import TrialLevels, trial_levels
from nucleate.electrons.species import check_apart, ions_of
from nucleate.electrons.terms.exchange_correlation import Functional
from nucleate.electrons.terms.free_energy import DensityTerms, EnergyTerms, density_terms, free_energy
from nucleate.electrons.terms.hartree import hartree_energy
from nucleate.electrons.terms.large_cells import density_terms_in_planes
from nucleate.errors import BadInput, RunFolderError
from nucleate.persist.files import write_whole
from nucleate.progress import Progress, silent
from nucleate.units import BOLTZMANN

FUNCTIONALS: dict[str, Functional] = {"LDA": "LDA", "PBE": "PBE"}
LARGE = 500_000
"""Number of points above which the density terms are evaluated plane by plane on the grid itself."""


@dataclass(frozen=True)
class Electrons:
    """Prediction for a structure.

    Attributes:
        levels: Density of states and Fermi level.
        density: (n_1, n_2, n_3) electron density in 1/Å³, scaled to the exact number of electrons.
        grid: Grid of the density.
        terms: Terms of the free energy.
        forces: (n_atoms, 3) forces in eV/Å, or None.
        stress: (3, 3) stress in eV/Å³, or None.
        sigma_band: Spread of the band energy over the committee in eV/atom.
        charge: Number of electrons of the density before scaling.
        temperature: Electronic temperature in K.
        heat_capacity: Heat capacity of the electrons at fixed levels, in units of Boltzmann's constant; zero for insulators.
        spin_density: (n_1, n_2, n_3) density of spin up minus that of spin down in 1/Å³; None without spin.
    """

    levels: Levels
    density: Tensor
    grid: Grid
    terms: EnergyTerms
    forces: Tensor | None
    stress: Tensor | None
    sigma_band: float
    charge: float
    temperature: float
    heat_capacity: float
    spin_density: Tensor | None = None

    @property
    def moment(self) -> float:
        """Magnetic moment of the cell in Bohr magnetons; zero without spin."""
        return 0.0 if self.spin_density is None else float(self.spin_density.sum()) * float(self.grid.voxel)


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
    progress: Progress = silent,
) -> Electrons:
    """Predict the electronic properties of a structure.

    The memory is a few numbers per grid point, independent of the number of energies; with forces about 600 bytes per point. For grids of
    more than 500,000 points, exchange and correlation are integrated on the grid itself instead of a grid twice as fine (the difference is
    below 0.01 meV/atom in aluminium). If the functional of the training data is unknown (imported data), the exchange-correlation, core and
    free energies are NaN.

    Args:
        model: Trained model.
        atoms: Periodic structure with species in the training data.
        temperature: Electronic temperature in K.
        spacing: Grid spacing in Å; default: that of the training data.
        shape: Shape of the grid, instead of a spacing.
        forces: Whether to compute forces and stress, at about four times the cost.
        overlap: Whether to include the overlap of GPAW's Gaussian ions, for comparison with GPAW.
        workers: Number of processes that share the slabs; 0: only this process.
        path: Path of the model file; required with workers.
        scratch: Folder for finished slabs, from which an interrupted prediction resumes.
        progress: Called with a `Step` after each slab of each phase.

    Raises:
        BadInput: The temperature, grid or species cannot be used, or the scratch folder belongs to another prediction.
    """
    check_temperature(temperature)
    check_gap(model, temperature)
    grid = model.grid(atoms, spacing) if shape is None else Grid(torch.tensor(atoms.cell.array), shape)
    model.species(atoms)
    check_apart(atoms, "the model")
    functional = model.engine.get("functional", "unknown")
    if forces and functional not in FUNCTIONALS:
        raise BadInput(
            f"forces require the functional and pseudopotential of the training data, which are unknown ({model.engine.get('engine')})"
        )
    electrons = model.electrons(atoms)
    if scratch is not None:
        _claim(scratch, model, atoms, grid.shape)
    slabs = Slabs(model, atoms, grid.shape, workers, path, scratch, progress)
    try:
        levels, densities, slopes = _levels_and_densities(slabs, model, grid, electrons, temperature, forces)
        charge = float(densities[0].sum()) * float(grid.voxel)
        # float32 loses about 1e-6 of the charge, but the energy terms require the exact charge.
        densities[0] *= electrons / charge
        positions = torch.tensor(atoms.positions, requires_grad=forces)
        cell = torch.tensor(atoms.cell.array, requires_grad=forces)
        on_cell = Grid(cell, grid.shape)
        fields = [torch.from_numpy(density).requires_grad_(forces) for density in densities]
        ions = ions_of(atoms, model.ions)
        of_density = _density_terms(fields, on_cell, functional, forces)
        # The zero moves all levels with the volume.
        zero = zero_of_energy(model.zero, electrons, on_cell.volume)
        band = levels.band + electrons * (zero - zero.detach())
        terms = free_energy(band, levels.entropy, of_density, positions, cell, ions, temperature, overlap=overlap)
        if functional not in FUNCTIONALS:
            terms = replace(terms, core=terms.core * torch.nan)
        found = (
            _derivatives(slabs, model, atoms, grid, levels, terms, fields, slopes, positions, cell, temperature) if forces else (None, None)
        )
    except BaseException:
        slabs.close(wait=False)
        raise
    slabs.close()
    spread = float(levels.members[:, 1].std()) / len(atoms) if model.network.members > 1 else float("nan")
    detached = EnergyTerms(**{name: value.detach() for name, value in vars(terms).items()})
    density, *spin_density = (field.detach() for field in fields)
    # The gap of an insulator is wider than 10 kT.
    heat = 0.0 if model.insulator else heat_capacity(levels.energies, levels.dos, electrons, model.sigma, temperature)
    return Electrons(levels, density, grid, detached, found[0], found[1], spread, charge, temperature, heat, *spin_density)


def _levels_and_densities(
    slabs: Slabs, model: ElectronModel, grid: Grid, electrons: float, temperature: float, slope: bool
) -> tuple[Levels, list[np.ndarray], list[np.ndarray] | None]:
    """Return the levels, the density and, with spin, the spin density at each point.

    With `slope` their derivatives in the Fermi level follow unless these need a further pass. Where h is kept, a second pass gives the
    densities. Otherwise the first pass accumulates them at trial Fermi levels, and a second pass is made only if the Fermi level is not
    among them. The weights of insulators are known before, and one pass is enough.
    """
    energies = model.absolute_energies(electrons, grid.volume.detach())
    trials = None if slabs.keeps or model.insulator else _trials(slabs, model, grid, electrons, temperature, 2 if slope else 0)
    if model.insulator:
        turns, constants = contractions(model, [filled_occupation(energies).number])
    else:
        turns, constants = contractions(model, _trial_weights(energies, model.sigma, trials, temperature, slope))
    sums = np.zeros((model.network.members, model.network.last.shape[1]))
    fields = np.empty((len(turns), *grid.shape), dtype=np.float32 if model.network.last.dtype == torch.float32 else np.float64)
    key = "filled" if model.insulator else "sums" if trials is None else f"trials-{temperature:g}K{'-slope' if slope else ''}"
    for slab, (total, parts) in slabs.ask("density of states", "summed_and_contracted", key, lambda slab: (turns,)):
        sums += total
        fields[:, slabs.planes(slab)] = parts
    levels = levels_of(model, torch.from_numpy(sums), grid, electrons, temperature)
    if model.insulator:
        return levels, [_mixed(fields, np.ones(1), constants)], None
    if trials is None or not trials.holds(levels.mu):
        return levels, _contracted(slabs, model, levels.weights.number, grid, "density", f"density-{temperature:g}K"), None
    mix, n = trials.weights(levels.mu), len(trials.levels)
    # For each channel the values at the trial levels, then with `slope` their derivatives.
    starts = range(0, len(turns), 2 * n if slope else n)
    density = [_mixed(fields[k : k + n], mix, constants[k : k + n]) for k in starts]
    slopes = [_mixed(fields[k + n : k + 2 * n], mix, constants[k + n : k + 2 * n]) for k in starts] if slope else None
    return levels, density, slopes


def _contracted(slabs: Slabs, model: ElectronModel, weights: Tensor, grid: Grid, phase: str, key: str) -> list[np.ndarray]:
    """Return the sums over energies with weights at each point for the density and, with spin, the spin density, in a pass of their own."""
    turns, constants = contractions(model, [weights])
    found = [np.empty(grid.shape) for _ in turns]
    for slab, parts in slabs.ask(phase, "contracted", key, lambda slab: (turns,)):
        for field, part, constant in zip(found, parts, constants, strict=True):
            field[slabs.planes(slab)] = part + constant
    return found


def _mixed(fields: np.ndarray, weights: np.ndarray, constants: np.ndarray) -> np.ndarray:
    """Return sum_k weights_k (fields_k + constants_k), float64."""
    total = np.full(fields.shape[1:], float(weights @ constants))
    # Plane by plane, because a product with a whole field would be another array of this size.
    for plane in range(len(total)):
        total[plane] += np.tensordot(weights, fields[:, plane], axes=1)
    return total


def _trials(slabs: Slabs, model: ElectronModel, grid: Grid, electrons: float, temperature: float, more: int) -> TrialLevels | None:
    """Return trial Fermi levels from a sample of the points; None if the sample is too small."""
    parts = sum(part for _, part in slabs.ask("Fermi level", "sampled", "sampled", lambda slab: ()))
    try:
        estimates = [float(levels_of(model, torch.from_numpy(part), grid, electrons, temperature).mu) for part in parts]
    except BadInput:
        # A part of the sample may contain too few states where the whole grid does not.
        return None
    return trial_levels(np.array(estimates), BOLTZMANN * temperature, more)


def _trial_weights(energies: Tensor, sigma: float, trials: TrialLevels | None, temperature: float, slope: bool) -> list[Tensor]:
    """Return the occupation weights at the trial levels, followed with `slope` by their derivatives in the level."""
    if trials is None:
        return []
    weigh = weigher(energies, sigma, temperature)
    found = [weigh(torch.tensor(level, dtype=torch.float64)) for level in trials.levels]
    return [each.number for each in found] + ([each.slope for each in found] if slope else [])


def _density_terms(fields: list[Tensor], grid: Grid, functional: str, forces: bool) -> DensityTerms:
    density, *spin = fields
    if functional not in FUNCTIONALS:
        unknown = torch.tensor(torch.nan, dtype=torch.float64)
        return DensityTerms(hartree_energy(density, grid), unknown, unknown)
    if grid.size < LARGE:
        return density_terms(density, grid, FUNCTIONALS[functional], 2, *spin)
    if functional == "LDA" and not forces:
        return density_terms_in_planes(density, grid, *spin)
    return density_terms(density, grid, FUNCTIONALS[functional], 1, *spin)


def _claim(scratch: Path, model: ElectronModel, atoms: Atoms, shape: tuple[int, int, int]) -> None:
    """Claim the scratch folder; raise `BadInput` if it belongs to another prediction."""
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
                raise BadInput(f"{scratch}: the folder is not empty and contains no prediction; choose another folder")
            write_whole(mark, digest.hexdigest())
        if mark.read_text(encoding="utf-8") != digest.hexdigest():
            raise BadInput(f"{scratch}: the folder contains slabs of another structure, grid or model; choose another folder, or delete it")
    except OSError as error:
        raise RunFolderError(f"{scratch}: the folder cannot be used: {error.strerror}") from error


def _derivatives(
    slabs: Slabs,
    model: ElectronModel,
    atoms: Atoms,
    grid: Grid,
    levels: Levels,
    terms: EnergyTerms,
    fields: list[Tensor],
    slopes: list[np.ndarray] | None,
    positions: Tensor,
    cell: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Compute forces and stress; see the module docstring.

    Without `slopes`, the derivatives of the density and spin density in the Fermi level, a further pass gives them.
    """
    *by_fields, by_positions, by_cell = (part.numpy() for part in torch.autograd.grad(terms.free, [*fields, positions, cell]))
    if model.insulator:
        same, local, by_volume = _response_of_insulator(model, grid, levels, by_fields[0], fields[0].detach().numpy())
    else:
        if slopes is None:
            slopes = _contracted(slabs, model, levels.weights.slope, grid, "Fermi level", f"slope-{temperature:g}K")
        same, local, by_volume = _response_of_metal(model, atoms, grid, levels, by_fields, slopes, temperature)
    array = atoms.cell.array
    force, strain = by_positions, by_cell + by_volume * np.linalg.inv(array).T
    by_nodes: float | np.ndarray = 0.0
    given = f"gradients-{temperature:g}K", lambda slab: (same, local, np.stack([part[slabs.planes(slab)] for part in by_fields]))
    for _, (part, through_nodes) in slabs.ask("forces", "gradient", *given):
        force, strain, by_nodes = force + part[:-3], strain + part[-3:], by_nodes + through_nodes
    fresh, box = torch.tensor(atoms.positions, requires_grad=True), torch.tensor(array, requires_grad=True)
    nodes = model.nodes(atoms, fresh, box)
    if nodes is not None:
        through = torch.autograd.grad(nodes, [fresh, box], torch.tensor(by_nodes, dtype=nodes.dtype))
        force, strain = force + through[0].numpy(), strain + through[1].numpy()
    # Positions and cell vectors turn alike under a strain: dF/d(strain) = R^T dF/dR + C^T dF/dC.
    virial = atoms.positions.T @ force + array.T @ strain
    return torch.from_numpy(-force), torch.from_numpy((virial + virial.T) / (2 * atoms.get_volume()))


def _response_of_metal(
    model: ElectronModel,
    atoms: Atoms,
    grid: Grid,
    levels: Levels,
    by_fields: list[np.ndarray],
    slopes: list[np.ndarray],
    temperature: float,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the coefficients of h in dF, see `SlabWorker.gradient`, and dF/d(ln V) at fixed d.

    Raises:
        BadInput: There are no states at the Fermi level.
    """
    weigh = weigher(levels.energies, model.sigma, temperature)
    through = sum(float((by_field * slope).sum()) for by_field, slope in zip(by_fields, slopes, strict=True))
    by_dos = by_states_of_metal(weigh, levels.mu, levels.dos, BOLTZMANN * temperature, through, model.electrons(atoms))
    if by_dos is None:
        raise BadInput(
            "there are no states at the Fermi level, but forces require its derivative; sample the insulator again, so that its snapshots "
            "contain the occupied levels, and train on them"
        )
    number = levels.weights.number
    # At fixed d, the density of states is proportional to the volume.
    return contraction(model, float(grid.voxel) * by_dos)[0], contractions(model, [number])[0], float(by_dos @ levels.dos)


def _response_of_insulator(
    model: ElectronModel, grid: Grid, levels: Levels, by_density: np.ndarray, density: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what `_response_of_metal` does; see the module docstring."""
    charge = density.sum() * float(grid.voxel)
    local = float((by_density * density).sum())
    weights = levels.weights
    by_occupied = by_states_of_insulator(weights, float(levels.band), local, charge)
    scale = charge / float(weights.number @ levels.occupied)
    return (
        scale * contraction(model, float(grid.voxel) * by_occupied, "occupied")[0],
        scale * contractions(model, [weights.number])[0],
        # At fixed o, the scaled density is inversely proportional to the volume, and the band energy does not depend on it.
        -local,
    )
