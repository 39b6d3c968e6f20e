"""On exact Kohn-Sham electrons of a real calculation every identity holds, without a network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from nucleate.electrons.data.ground_state import Snapshot, ground_state
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import ions_of
from nucleate.electrons.terms.free_energy import EnergyTerms, density_terms, free_energy
from nucleate.units import BOLTZMANN
from tests.electrons.conftest import AL4


@pytest.fixture(scope="module")
def snapshot(al_data: Path) -> Snapshot:
    atoms = read_snapshot(al_data / "snapshots/0001.zarr", ldos=False).atoms
    # Levels on a Gaussian grid miss less of the Fermi level with more k-points than the shared data have.
    return ground_state(atoms, GroundStateSettings(**{**AL4["ground_state"], "k_spacing": 0.4}))


def from_ldos(snapshot: Snapshot, correct: bool) -> tuple[EnergyTerms, torch.Tensor, float]:
    """Energy terms, density and Fermi level from the local density of states alone."""
    energies, ldos = torch.tensor(snapshot.energies), torch.tensor(snapshot.ldos).double()
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (ldos.shape[0], ldos.shape[1], ldos.shape[2]))
    dos = ldos.sum((0, 1, 2)) * grid.voxel
    weigh = weigher(energies, snapshot.sigma, snapshot.temperature, correct)
    ions = ions_of(snapshot.atoms, snapshot.ions)
    mu = fermi_level(energies, dos, ions.electrons, weigh)
    weights = weigh(mu)
    assert abs(float(weights.number @ dos) - ions.electrons) < 1e-8
    density = ldos @ weights.number
    terms = free_energy(
        weights.energy @ dos, weights.entropy @ dos, density_terms(density, grid), torch.tensor(snapshot.atoms.positions),
        grid.cell, ions, snapshot.temperature, overlap=True,
    )  # fmt: skip
    return terms, density, float(mu)


def test_the_free_energy_from_gpaws_own_band_energy_and_density(snapshot: Snapshot) -> None:
    density = torch.tensor(snapshot.density)
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (density.shape[0], density.shape[1], density.shape[2]))
    ions = ions_of(snapshot.atoms, snapshot.ions)
    assert float(density.sum() * grid.voxel) == pytest.approx(ions.electrons, abs=1e-8)
    terms = free_energy(
        torch.tensor(snapshot.terms["band"]), torch.tensor(-snapshot.terms["entropy"] / BOLTZMANN / snapshot.temperature),
        density_terms(density, grid), torch.tensor(snapshot.atoms.positions), grid.cell, ions, snapshot.temperature, overlap=True,
    )  # fmt: skip
    atoms = len(snapshot.atoms)
    assert 1e3 * abs(float(terms.free) - snapshot.terms["free"]) / atoms < 0.1
    assert 1e3 * abs(float(terms.xc) - snapshot.terms["xc"]) / atoms < 0.05


def test_density_band_energy_and_entropy_from_the_local_density_of_states(snapshot: Snapshot) -> None:
    terms, density, mu = from_ldos(snapshot, correct=True)
    atoms = len(snapshot.atoms)
    exact = torch.tensor(snapshot.density)
    assert 100 * float((density - exact).abs().sum() / exact.sum()) < 0.05
    assert 1e3 * abs(float(terms.band) - snapshot.terms["band"]) / atoms < 3
    assert 1e3 * abs(float(terms.entropy) + snapshot.terms["entropy"]) / atoms < 1
    assert abs(mu - snapshot.fermi_level) < 5e-3
    # The sparse k-points of a fast test leave 1 meV/atom; benchmarks/electrons/identities/run.py has the converged figures.
    assert 1e3 * abs(float(terms.free) - snapshot.terms["free"]) / atoms < 3


def test_large_cells_lose_little_by_integrating_on_the_grid_itself(snapshot: Snapshot) -> None:
    density = torch.tensor(snapshot.density)
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (density.shape[0], density.shape[1], density.shape[2]))
    twice, once = (float(density_terms(density, grid, fine=fine).total) for fine in (2, 1))
    assert 1e3 * abs(once - twice) / len(snapshot.atoms) < 0.02


def test_the_correction_of_the_smearing_is_what_makes_it_so(snapshot: Snapshot) -> None:
    plain, corrected = (from_ldos(snapshot, correct)[0] for correct in (False, True))
    errors = [abs(float(terms.band) - snapshot.terms["band"]) for terms in (plain, corrected)]
    assert errors[1] < 0.3 * errors[0]


def test_symmetry_of_the_crystal_gives_the_density_of_states_of_all_k_points() -> None:
    from ase.build import bulk

    pytest.importorskip("gpaw")
    atoms = bulk("Al")
    settings = GroundStateSettings(cutoff=150, k_spacing=0.9, electronic_temperature=3000, sigma=0.3, spacing=0.2, low=-6, high=12)
    reduced = ground_state(atoms, settings)
    whole = ground_state(atoms, settings, symmetry=False)
    assert whole.details["k_points"] > 2 * reduced.details["k_points"]
    scale = float(np.abs(whole.ldos).max())
    below = reduced.energies < reduced.fermi_level
    assert float(np.abs(reduced.ldos - whole.ldos)[..., below].max()) < 1e-4 * scale


def test_one_k_point_serves_too() -> None:
    from ase.build import bulk

    pytest.importorskip("gpaw")
    gamma = ground_state(bulk("Al"), GroundStateSettings(cutoff=120, k_spacing=9, electronic_temperature=3000))
    assert gamma.details["k_points"] == 1
    voxel = gamma.atoms.get_volume() / gamma.ldos[..., 0].size
    assert gamma.density is not None
    assert float(gamma.density.sum()) * voxel == pytest.approx(3)
