"""The emulator: its density starts GPAW, which ends where it always ends; what it does not know it refuses."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.emulator.emulator import Emulator, EmulatorTraining, StartRefused, fit_emulator, norm, starting_density
from nucleate.electrons.emulator.gpaw_start import converge, grid_shape, superposition
from nucleate.electrons.grid import Grid
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.terms.hartree import hartree_energy
from nucleate.errors import BadInput, MissingDependency
from tests.electrons.conftest import AL4

SETTINGS = GroundStateSettings(**AL4["ground_state"])


@pytest.fixture(scope="module")
def emulator(al_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    out = tmp_path_factory.mktemp("emulator")
    fit_emulator([al_data], out, EmulatorTraining(radial=6, degree=3))
    return Emulator.load(out)


def test_the_norm_is_the_coulomb_energy() -> None:
    grid = Grid(torch.tensor(bulk("Al", cubic=True).cell.array), (8, 9, 10))
    field = torch.randn(grid.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert norm(field, grid, 0.0) == pytest.approx(float(hartree_energy(field, grid)), rel=1e-12)
    centred = field - field.mean()
    assert norm(field, grid, 0.3) - norm(field, grid, 0.0) == pytest.approx(0.3 * float((centred**2).sum() * grid.voxel), rel=1e-12)


def test_the_emulated_density_is_nearer_than_superposed_atoms_on_an_unseen_snapshot(al_data: Path, tmp_path: Path) -> None:
    import shutil

    two = tmp_path / "two"
    shutil.copytree(al_data, two)
    shutil.rmtree(two / "snapshots/0002.zarr")
    emulator = fit_emulator([two], tmp_path / "e", EmulatorTraining(radial=6, degree=3))
    unseen = read_snapshot(al_data / "snapshots/0002.zarr", ldos=False)
    assert unseen.density is not None
    shape = unseen.density.shape
    start = starting_density(emulator, unseen.atoms, SETTINGS, shape)
    grid = Grid(torch.tensor(unseen.atoms.cell.array), shape)
    error = norm(torch.tensor(start.density - unseen.density), grid, 0.2)
    atoms = norm(torch.tensor(superposition(unseen.atoms, SETTINGS, shape) - unseen.density), grid, 0.2)
    assert error < 0.05 * atoms
    assert start.density.sum() * float(grid.voxel) == pytest.approx(12, abs=1e-8)
    # Expected and true error agree within an order of magnitude.
    assert 0.1 < start.expected_error / error < 10


def test_gpaw_ends_at_the_same_energy_from_every_start(emulator: Emulator, al_data: Path) -> None:
    snapshot = read_snapshot(al_data / "snapshots/0000.zarr", ldos=False)
    shape = grid_shape(snapshot.atoms, SETTINGS)
    start = starting_density(emulator, snapshot.atoms, SETTINGS, shape)
    atoms = converge(snapshot.atoms, SETTINGS)
    ours = converge(snapshot.atoms, SETTINGS, density=start.density, fixed_steps=2)
    potential = converge(snapshot.atoms, SETTINGS, potential=atoms.potential)
    for other in (ours, potential):
        # Each is converged to 1e-6 eV an electron, and there are twelve.
        assert other.free_energy == pytest.approx(atoms.free_energy, abs=2 * 12e-6)
        assert np.abs(other.density - atoms.density).max() < 1e-3 * atoms.density.max()
    assert ours.iterations < atoms.iterations
    assert atoms.free_energy == pytest.approx(snapshot.terms["free"], abs=1e-4)


def test_what_it_does_not_know_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    dense = bulk("Al", "bcc", a=2.4)
    with pytest.raises(StartRefused, match="start from atoms"):
        starting_density(emulator, dense, SETTINGS, grid_shape(dense, SETTINGS))
    mixed = Atoms("AlMg", [[0, 0, 0], [2.1, 2.1, 0]], cell=[4.2, 4.2, 4.2], pbc=True)
    with pytest.raises(BadInput, match="Mg: not in the training data"):
        starting_density(emulator, mixed, SETTINGS, (14, 14, 14))
    with pytest.raises(BadInput, match="cutoff"):
        starting_density(emulator, bulk("Al"), GroundStateSettings(cutoff=333), (14, 14, 14))
    with pytest.raises(BadInput, match="has a grid of"):
        converge(bulk("Al"), SETTINGS, density=np.ones((3, 3, 3)))
    (tmp_path / "emulator.safetensors").write_bytes(b"{")
    with pytest.raises(BadInput, match="complete"):
        Emulator.load(tmp_path)


def test_a_missing_gpaw_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleate.gpaw.session.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "nucleate.gpaw.continued", None)
    with pytest.raises(MissingDependency, match="GPAW is not installed"):
        superposition(Atoms("Al", cell=[4, 4, 4], pbc=True), SETTINGS, (8, 8, 8))
