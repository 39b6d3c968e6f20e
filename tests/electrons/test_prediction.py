"""Prediction: forces and stress of the full chain against finite differences; slabs, workers and stops change nothing."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.model.calculator import ElectronCalculator
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.slabs import Field, SlabWorker, batches
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.electrons.model.trial_levels import trial_levels
from nucleate.errors import BadInput
from nucleate.progress import Event, Step
from tests.electrons.derivatives import check_forces, check_row, exact

TEMPERATURE = 900.0


@pytest.fixture(scope="module")
def atoms(al_data: Path) -> Atoms:
    return read_snapshot(al_data / "snapshots/0002.zarr", ldos=False).atoms


@pytest.fixture(scope="module")
def exact_model(al_model: ElectronModel, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    """In double precision, for finite differences."""
    return exact(al_model, tmp_path_factory.mktemp("model"))


def test_forces_and_stress_are_the_derivatives_of_the_free_energy(exact_model: ElectronModel, atoms: Atoms) -> None:
    # The error of the central difference falls with the square of the step: 5e-7 eV/Å and 3e-6 eV/Å³ at this one.
    check_forces(exact_model, atoms, TEMPERATURE, step=3e-4, force=1e-5, stress=2e-5)


def test_the_free_energy_changes_with_the_outputs_as_its_row_says(exact_model: ElectronModel, atoms: Atoms) -> None:
    check_row(deepcopy(exact_model), atoms, TEMPERATURE)


def test_the_two_passes_give_what_the_whole_local_density_of_states_gives(exact_model: ElectronModel, atoms: Atoms) -> None:
    found = predict(exact_model, atoms, TEMPERATURE)
    field = Field.of(exact_model, atoms, found.grid.shape)
    ldos = torch.zeros(found.grid.size, len(exact_model.energies), dtype=torch.float64)
    with torch.no_grad():
        for index in batches([np.arange(found.grid.size)]):
            ldos[index.flatten()] = exact_model.network(field.features(index)).mean(0)
    assert torch.allclose(ldos.sum(0) * found.grid.voxel, found.levels.dos, rtol=1e-10)
    assert torch.allclose((ldos @ found.levels.weights.number).view(found.grid.shape), found.density, atol=1e-8)
    assert found.charge == pytest.approx(12, abs=1e-6)


def test_energies_do_not_depend_on_where_the_cell_begins_nor_on_its_copies(exact_model: ElectronModel, atoms: Atoms) -> None:
    shape = exact_model.grid(atoms).shape
    first = predict(exact_model, atoms, TEMPERATURE, shape=shape)
    moved = atoms.copy()
    # By whole points of the grid: a shift within a voxel changes the quadrature.
    moved.positions += (np.array([2, 3, 1]) / shape) @ atoms.cell.array
    moved.positions[0] -= atoms.cell[0]
    second = predict(exact_model, moved, TEMPERATURE, shape=shape)
    assert float(second.terms.free) == pytest.approx(float(first.terms.free), abs=1e-6)
    double = predict(exact_model, atoms * (1, 1, 2), TEMPERATURE, shape=(shape[0], shape[1], 2 * shape[2]))
    assert float(double.terms.free) == pytest.approx(2 * float(first.terms.free), abs=1e-5)


def test_worker_processes_and_kept_slabs_give_the_same(al_model: ElectronModel, atoms: Atoms, tmp_path: Path) -> None:
    path, scratch = tmp_path / "m.safetensors", tmp_path / "slabs"
    al_model.save(path)
    alone = predict(al_model, atoms, TEMPERATURE, forces=True)
    shared = predict(al_model, atoms, TEMPERATURE, forces=True, workers=2, path=path, scratch=scratch)
    assert float(shared.terms.free) == pytest.approx(float(alone.terms.free), abs=1e-6)
    assert alone.forces is not None
    assert shared.forces is not None
    assert torch.allclose(shared.forces, alone.forces, atol=1e-5)
    with pytest.raises(BadInput, match="another structure"):
        predict(al_model, atoms * (2, 1, 1), TEMPERATURE, scratch=scratch)


def test_a_stopped_prediction_goes_on_from_its_slabs(
    al_model: ElectronModel, atoms: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch, asked = tmp_path / "slabs", []
    plain = SlabWorker.summed_and_contracted

    def counted(self: SlabWorker, slab: int, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(slab)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return plain(self, slab, turns)

    monkeypatch.setattr(SlabWorker, "summed_and_contracted", counted)
    with pytest.raises(KeyboardInterrupt):
        predict(al_model, atoms, TEMPERATURE, scratch=scratch)
    found = predict(al_model, atoms, TEMPERATURE, scratch=scratch)
    assert asked[:3] == [0, 1, 2]
    # What was left of the first pass, and the second one, which gives the density.
    assert asked[3:] == [2, 3, 0, 1, 2, 3]
    assert float(found.terms.free) == float(predict(al_model, atoms, TEMPERATURE).terms.free)


@pytest.mark.parametrize("temperature", [1000.0, 1500.0])
def test_trial_levels_give_what_two_passes_give(
    exact_model: ElectronModel, atoms: Atoms, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    large = atoms * (2, 2, 2)
    large.rattle(0.05, seed=1)
    phases: list[str] = []

    def told(event: Event, /) -> None:
        if isinstance(event, Step) and event.phase not in phases:
            phases.append(event.phase)

    plain = predict(exact_model, large, temperature, forces=True, progress=told)
    assert phases == ["density of states", "density", "Fermi level", "forces"]
    phases.clear()
    # As in a cell whose h does not fit in memory.
    monkeypatch.setattr("nucleate.electrons.model.slabs.KEPT_BYTES", 0)
    found = predict(exact_model, large, temperature, forces=True, progress=told)
    assert phases == ["Fermi level", "density of states", "forces"]
    assert float(found.levels.mu) == pytest.approx(float(plain.levels.mu), abs=1e-9)
    # The range of the trial levels is chosen for less than 1e-5 electrons per atom.
    assert float((found.density - plain.density).abs().sum() * found.grid.voxel) < 1e-5 * len(large)
    assert float(found.terms.free) == pytest.approx(float(plain.terms.free), abs=1e-5 * len(large))
    assert plain.forces is not None
    assert found.forces is not None
    assert float((found.forces - plain.forces).abs().max()) < 1e-5


def test_trial_levels_interpolate_the_fermi_function() -> None:
    kt = 0.03
    trials = trial_levels(np.array([5.0, 5.01, 5.02, 4.99]), kt)
    assert trials is not None
    assert trials.holds(torch.tensor(5.0))
    assert not trials.holds(torch.tensor(5.2))
    energies = np.linspace(4.5, 5.5, 40)
    values = 1 / (np.exp((energies - trials.levels[:, None]) / kt) + 1)
    for mu in (trials.levels.min(), 5.003, trials.levels.max()):
        value = trials.weights(torch.tensor(mu))
        exact = 1 / (np.exp((energies - mu) / kt) + 1)
        assert np.abs(value @ values - exact).max() < 1e-3
    # Estimates that are far apart need levels that are too far apart.
    assert trial_levels(np.array([4.0, 5.0, 6.0, 5.0]), kt) is None


def test_another_temperature_weighs_anew(al_model: ElectronModel, atoms: Atoms) -> None:
    cold, warm = (predict(al_model, atoms, t) for t in (300.0, 1800.0))
    assert torch.equal(cold.levels.dos, warm.levels.dos)
    assert float(warm.terms.entropy) > float(cold.terms.entropy) > 0
    assert float(warm.terms.free) < float(cold.terms.free)


def test_the_calculator_agrees_with_ases_numerical_forces(exact_model: ElectronModel, atoms: Atoms) -> None:
    from ase.calculators.fd import calculate_numerical_forces

    atoms = atoms.copy()
    atoms.calc = ElectronCalculator(exact_model, TEMPERATURE)
    analytic = atoms.get_forces()
    atoms.calc = ElectronCalculator(exact_model, TEMPERATURE)
    atoms.calc.implemented_properties = ["energy", "free_energy"]
    assert np.allclose(calculate_numerical_forces(atoms, eps=1e-3, iatoms=[1], force_consistent=True), analytic[[1]], atol=1e-4)
    atoms.calc = ElectronCalculator(exact_model, TEMPERATURE)
    atoms.get_stress()
    assert atoms.calc.results["dos"].shape == (2, len(exact_model.energies))
    assert atoms.calc.results["density"].sum() * atoms.get_volume() / atoms.calc.results["density"].size == pytest.approx(12)
    assert atoms.get_potential_energy() > atoms.get_potential_energy(force_consistent=True)


def test_what_cannot_be_predicted_is_refused(al_model: ElectronModel, atoms: Atoms, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="positive number of kelvin"):
        predict(al_model, atoms, 0.0)
    with pytest.raises(BadInput, match="too coarse"):
        predict(al_model, atoms, 500.0, spacing=0.6)
    # A tenth of an electron would sit above the window.
    with pytest.raises(BadInput, match="above the window"):
        predict(al_model, atoms, 12000.0)
    twice = atoms.copy()
    twice.positions[1] = twice.positions[0]
    with pytest.raises(BadInput, match="two atoms are"):
        predict(al_model, twice, 500.0)
    other = atoms.copy()
    other.symbols[0] = "Mg"
    with pytest.raises(BadInput, match="Mg: not in the training data"):
        predict(al_model, other, 500.0)
    path = tmp_path / "m.safetensors"
    al_model.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="complete"):
        ElectronModel.load(path)
    with pytest.raises(BadInput, match="no such model"):
        ElectronModel.load(tmp_path / "nothing")


@pytest.mark.parametrize("descriptor", [{"name": "bispectrum", "twojmax": 2, "cutoff": 3.5}, {"name": "power", "radial": 3, "degree": 2}])
def test_a_model_read_back_says_the_same(descriptor: dict, al_data: Path, atoms: Atoms, tmp_path: Path) -> None:
    settings = ElectronTraining(steps=20, points=200, hidden=(8,), members=1, descriptor=descriptor)
    model, _ = train([al_data], tmp_path / "m", settings)
    again = ElectronModel.load(tmp_path / "m")
    assert float(predict(again, atoms, 900.0).terms.free) == float(predict(model, atoms, 900.0).terms.free)


def test_kept_slabs_serve_every_pass(al_model: ElectronModel, atoms: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = predict(al_model, atoms, TEMPERATURE, forces=True, scratch=tmp_path / "s")
    for question in ("summed_and_contracted", "contracted", "gradient"):
        monkeypatch.setattr(SlabWorker, question, None)
    second = predict(al_model, atoms, TEMPERATURE, forces=True, scratch=tmp_path / "s")
    assert first.forces is not None
    assert second.forces is not None
    assert torch.equal(first.forces, second.forces)
