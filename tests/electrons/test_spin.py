"""Both spins: exact identities on real DFT, forces of a model against finite differences, and what is refused."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.electrons import api
from nucleate.electrons.data.ground_state import Snapshot, ground_state
from nucleate.electrons.data.sampling import label_structures
from nucleate.electrons.data.store import read_snapshot, write_snapshot
from nucleate.electrons.emulator.emulator import EmulatorTraining, fit_emulator
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.levels.smearing import weigher
from nucleate.electrons.model.calculator import ElectronCalculator
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.electrons.settings import GroundStateSettings
from nucleate.electrons.species import ions_of
from nucleate.electrons.terms.exchange_correlation import energy_per_electron, polarised_energy_per_electron, xc_energy, xc_energy_potential
from nucleate.electrons.terms.free_energy import density_terms, free_energy
from nucleate.electrons.terms.large_cells import density_terms_in_planes
from nucleate.errors import BadInput
from nucleate.units import BOLTZMANN
from tests.electrons.derivatives import check_forces, check_row, exact

TEMPERATURE = 1500.0
SETTINGS = GroundStateSettings(
    cutoff=200, k_spacing=0.6, electronic_temperature=TEMPERATURE, sigma=0.15, spacing=0.1, magnetic_moments={"H": 1.0}
)
CELL = torch.tensor([[4.0, 0.1, 0.0], [0.0, 4.2, 0.2], [0.1, 0.0, 3.9]], dtype=torch.float64)


def hydrogen(seed: int) -> Atoms:
    """Two atoms of expanded hydrogen, the cheapest ferromagnet; at this volume it is not fully polarised."""
    atoms = Atoms("H2", cell=[2.75, 2.75, 5.5], positions=[(0, 0, 0), (0, 0, 2.75)], pbc=True)
    atoms.rattle(0.08, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gpaw")
    out = tmp_path_factory.mktemp("spin") / "h"
    label_structures(out, [hydrogen(seed) for seed in range(2)], SETTINGS)
    return out


@pytest.fixture(scope="module")
def snapshot(data: Path) -> Snapshot:
    return read_snapshot(data / "snapshots/0000.zarr")


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    settings = ElectronTraining(steps=200, points=600, hidden=(24, 24), descriptor={"radial": 5, "degree": 2, "cutoff": 4.0})
    return train([data], tmp_path_factory.mktemp("spin") / "model", settings)[0]


@pytest.fixture(scope="module")
def exact_model(model: ElectronModel, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    """In double precision, for finite differences; read from its file."""
    read = exact(model, tmp_path_factory.mktemp("model"))
    assert read.spin
    return read


def smooth(grid: Grid, seed: int) -> torch.Tensor:
    phase = grid.fractions(torch.arange(grid.size)) @ torch.tensor(np.random.default_rng(seed).integers(-1, 2, (3, 4))).double()
    return (2 * torch.pi * phase).cos().mean(-1).view(grid.shape)


def test_polarised_electrons_agree_with_libxc() -> None:
    libxc = pytest.importorskip("gpaw.xc.libxc")
    n, zeta = np.meshgrid(np.geomspace(1e-3, 3.0, 12), [-1.0, -0.6, 0.0, 0.3, 0.999], indexing="ij")
    n, zeta = n.ravel(), zeta.ravel()
    energy, v = np.zeros(60), np.zeros((2, 60))
    libxc.LibXC("LDA").calculate(energy, np.stack([n * (1 + zeta), n * (1 - zeta)]) / 2, v)
    own = torch.tensor(n) * polarised_energy_per_electron(torch.tensor(n), torch.tensor(n * zeta))
    # Constants of PW92 have more digits in libxc's default.
    assert np.allclose(own.numpy(), energy, rtol=5e-6)
    paired = energy_per_electron(torch.tensor(n))
    assert torch.allclose(polarised_energy_per_electron(torch.tensor(n), torch.zeros(60).double()), paired, rtol=1e-12)


def test_potentials_of_both_spins_are_derivatives_of_the_energy() -> None:
    grid = Grid(CELL, (8, 9, 8))
    fields = 0.1 + 0.05 * smooth(grid, 0), 0.04 * smooth(grid, 1)
    _, *potentials = xc_energy_potential(fields[0], grid, spin=fields[1])
    for k, potential in enumerate(potentials):
        change = 1e-4 * fields[0] * smooth(grid, 2 + k)
        pair = [[field + sign * change * (k == j) for j, field in enumerate(fields)] for sign in (1, -1)]
        slope = (xc_energy(pair[0][0], grid, spin=pair[0][1]) - xc_energy(pair[1][0], grid, spin=pair[1][1])) / 2
        assert float((potential * change).sum() * grid.voxel) == pytest.approx(float(slope), rel=1e-5)
    whole, planes = density_terms(fields[0], grid, "LDA", 1, fields[1]), density_terms_in_planes(*fields[:1], grid, fields[1])
    for name in ("hartree", "xc", "xc_potential"):
        assert float(getattr(planes, name)) == pytest.approx(float(getattr(whole, name)), rel=1e-10)
    with pytest.raises(BadInput, match="PBE"):
        xc_energy(fields[0], grid, "PBE", spin=fields[1])


def test_moment_and_free_energy_from_the_local_density_of_states_of_both_spins(snapshot: Snapshot) -> None:
    assert snapshot.spin_ldos is not None
    energies, grid = torch.tensor(snapshot.energies), Grid(torch.tensor(snapshot.atoms.cell.array), snapshot.density.shape)
    ldos, difference = (torch.tensor(part).double() for part in (snapshot.ldos, snapshot.spin_ldos))
    weigh = weigher(energies, snapshot.sigma, snapshot.temperature)
    dos = ldos.sum((0, 1, 2)) * grid.voxel
    weights = weigh(fermi_level(energies, dos, 2.0, weigh))
    density, spin = ldos @ weights.number, difference @ weights.number
    moment = float(spin.sum() * grid.voxel)
    exact = float(snapshot.spin_density.sum() * grid.voxel)
    # Neither spin-paired nor fully polarised.
    assert 0.3 < exact < 1.9
    assert moment == pytest.approx(exact, abs=0.02)
    ions = ions_of(snapshot.atoms, snapshot.ions)

    def free(band: torch.Tensor, entropy: torch.Tensor, density: torch.Tensor, spin: torch.Tensor) -> float:
        terms, positions = density_terms(density, grid, spin=spin), torch.tensor(snapshot.atoms.positions)
        return float(free_energy(band, entropy, terms, positions, grid.cell, ions, snapshot.temperature, overlap=True).free.detach())

    # With GPAW's own band energy and densities, the difference is the 0.1 eV/atom by which this cutoff is too low for hydrogen's ion.
    given = torch.tensor(snapshot.density), torch.tensor(snapshot.spin_density)
    engine = free(torch.tensor(snapshot.terms["band"]), torch.tensor(-snapshot.terms["entropy"] / BOLTZMANN / TEMPERATURE), *given)
    assert free(weights.energy @ dos, weights.entropy @ dos, density, spin) == pytest.approx(engine, abs=2 * 2e-3)
    assert 1e3 * abs(float(density_terms(given[0], grid, spin=given[1]).xc) - snapshot.terms["xc"]) / 2 < 0.05


def test_moments_that_all_point_down_are_the_mirror_image(snapshot: Snapshot) -> None:
    down = ground_state(snapshot.atoms, SETTINGS.model_copy(update={"magnetic_moments": {"H": -1.0}}))
    assert down.terms["free"] == pytest.approx(snapshot.terms["free"], abs=1e-4)
    assert np.abs(down.spin_density + snapshot.spin_density).max() < 1e-3 * np.abs(snapshot.spin_density).max()


def test_forces_and_stress_with_spin_are_derivatives_of_the_free_energy(
    exact_model: ElectronModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert abs(predict(exact_model, hydrogen(1), TEMPERATURE).moment) > 0.1
    # Where one spin has no density, the potential of the LDA has a kink at full polarisation, across which differences cannot be taken.
    monkeypatch.setattr("nucleate.electrons.terms.exchange_correlation.POLARISED", 0.01)
    check_forces(exact_model, hydrogen(1), TEMPERATURE, step=1e-4, force=1e-5, stress=2e-5)


def test_the_free_energy_of_both_spins_changes_as_its_row_says(exact_model: ElectronModel) -> None:
    check_row(deepcopy(exact_model), hydrogen(1), TEMPERATURE)


def test_passes_of_large_cells_give_the_same_spin_density(exact_model: ElectronModel, monkeypatch: pytest.MonkeyPatch) -> None:
    large = hydrogen(1) * (3, 3, 2)
    large.rattle(0.03, seed=4)
    plain = predict(exact_model, large, TEMPERATURE, forces=True)
    monkeypatch.setattr("nucleate.electrons.model.slabs.KEPT_BYTES", 0)
    found = predict(exact_model, large, TEMPERATURE, forces=True)
    assert float((found.spin_density - plain.spin_density).abs().sum() * found.grid.voxel) < 2e-5 * len(large)
    assert float((found.forces - plain.forces).abs().max()) < 1e-5


def test_a_model_learns_the_moment(model: ElectronModel, data: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    own = errors_on(model, snapshot)
    moment = float(snapshot.spin_density.mean()) * snapshot.atoms.get_volume() / 2
    assert abs(own.moment) < 0.3 * moment
    assert own.spin_density < 30
    assert {"moment", "spin_density"} <= set(own.as_dict())
    atoms = snapshot.atoms.copy()
    atoms.calc = ElectronCalculator(model, TEMPERATURE)
    assert atoms.get_magnetic_moment() == pytest.approx(2 * (moment + own.moment), abs=0.02)
    path = tmp_path / "m.safetensors"
    model.save(path)
    shared = api.predict(path, atoms, temperature=TEMPERATURE, workers=2)
    assert shared.moment == pytest.approx(atoms.get_magnetic_moment(), abs=1e-4)


def test_spin_and_no_spin_are_not_learned_together(data: Path, al_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="spin"):
        train([al_data, data], tmp_path / "model", ElectronTraining(steps=1))
    with pytest.raises(BadInput, match="spin-polarised"):
        fit_emulator([data], tmp_path / "emulator", EmulatorTraining())


def test_a_snapshot_without_its_spin_density_is_refused(data: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    path = tmp_path / "snapshots/0000.zarr"
    path.parent.mkdir()
    write_snapshot(path, replace(snapshot, spin_density=None))
    with pytest.raises(BadInput, match="spin"):
        read_snapshot(path)


def test_starting_moments_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("gpaw")
    with pytest.raises(BadInput, match="no Fe"):
        api.sample(tmp_path / "a", material="Al", atoms=4, magnetic_moments={"Fe": 2.0})
    with pytest.raises(BadInput, match="magnetic_moments"):
        api.sample(tmp_path / "a", material="Al", atoms=4, magnetic_moments={"Xx": 2.0})
    atoms = hydrogen(0)
    atoms.set_initial_magnetic_moments([1.0, -1.0])
    ase.io.write(tmp_path / "h.extxyz", atoms)
    with pytest.raises(BadInput, match="magnetic_moments"):
        api.sample(tmp_path / "a", material=str(tmp_path / "h.extxyz"))
    assert not (tmp_path / "a").exists()
