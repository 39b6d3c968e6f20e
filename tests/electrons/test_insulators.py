"""Insulators: density and energy from the part of the occupied levels, exact identities on real DFT, forces, and what is refused."""

import logging
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from nucleate.electrons import api
from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.sampling import label_structures
from nucleate.electrons.data.store import read_snapshot, write_snapshot
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.last_layer import fit_last_layer
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.state_sums import filled_occupation, raw_edges
from nucleate.electrons.model.training import ElectronTraining, choose_channels, train
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput
from tests.electrons.derivatives import check_forces, check_row, exact

TEMPERATURE = 500.0
SETTINGS = GroundStateSettings(cutoff=200, k_spacing=0.9, electronic_temperature=TEMPERATURE, sigma=0.5, spacing=0.3)


def molecules(seed: int) -> Atoms:
    """A hydrogen molecule in a small cell, the cheapest insulator."""
    atoms = Atoms("H2", cell=[3.0, 3.0, 3.4], positions=[(0, 0, 0), (0, 0.1, 0.8)], pbc=True)
    atoms.rattle(0.05, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gpaw")
    out = tmp_path_factory.mktemp("insulator") / "h"
    label_structures(out, [molecules(seed) for seed in range(3)], SETTINGS)
    return out


@pytest.fixture(scope="module")
def snapshot(data: Path) -> Snapshot:
    return read_snapshot(data / "snapshots/0000.zarr")


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    descriptor = {"radial": 5, "degree": 2, "cutoff": 4.0}
    settings = ElectronTraining(steps=300, points=600, hidden=(24, 24), descriptor=descriptor, validation=0.0, free_weight=0.0)
    return train([data], tmp_path_factory.mktemp("insulator") / "model", settings)[0]


@pytest.fixture(scope="module")
def exact_model(model: ElectronModel, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    """In double precision, for finite differences; read from its file."""
    read = exact(model, tmp_path_factory.mktemp("model"))
    assert read.insulator
    return read


def test_density_and_band_energy_do_not_depend_on_the_smearing(snapshot: Snapshot) -> None:
    assert snapshot.insulating
    assert snapshot.occupied_ldos is not None
    weights, volume = filled_occupation(torch.tensor(snapshot.energies)), snapshot.atoms.get_volume()
    occupied = torch.tensor(snapshot.occupied_ldos).double()
    density = (occupied @ weights.number).numpy()
    # The stored values have seven digits.
    assert np.abs(density - snapshot.density).max() < 1e-6 * snapshot.density.max()
    band = float((occupied @ weights.energy).mean()) * volume
    assert band == pytest.approx(snapshot.terms["band"], abs=2e-5 * abs(snapshot.energies).max())


def test_band_edges_are_found_between_gaussians(snapshot: Snapshot) -> None:
    energies = np.arange(-10.0, 10.0, 0.1)
    occupied = 4 * np.exp(-((energies + 1.0) ** 2) / (2 * 0.2**2)) / (0.2 * (2 * np.pi) ** 0.5)
    empty = 2 * np.exp(-((energies - 3.0) ** 2) / (2 * 0.2**2)) / (0.2 * (2 * np.pi) ** 0.5)
    low, high = raw_edges(energies, occupied, empty, 4.0)
    # 0.1 and 0.2 % of these levels are beyond 3.09 and 2.88 widths.
    assert low == pytest.approx(-1.0 + 3.09 * 0.2, abs=0.06)
    assert high == pytest.approx(3.0 - 2.88 * 0.2, abs=0.06)


def test_a_model_learns_the_gap(model: ElectronModel, snapshot: Snapshot) -> None:
    assert snapshot.band_edges is not None
    found = errors_on(model, snapshot)
    assert abs(found.gap) < 0.1 * (snapshot.band_edges[1] - snapshot.band_edges[0])
    assert found.density < 10
    assert "gap" in found.as_dict()
    with pytest.raises(BadInput, match="across the band gap"):
        predict(model, snapshot.atoms, 50_000.0)


def test_forces_and_stress_of_an_insulator_are_derivatives_of_the_free_energy(exact_model: ElectronModel) -> None:
    check_forces(exact_model, molecules(4), TEMPERATURE, step=3e-4, force=2e-5, stress=4e-5)


def test_a_common_error_of_all_states_changes_nothing(exact_model: ElectronModel) -> None:
    atoms = molecules(4)
    before = predict(exact_model, atoms, TEMPERATURE)
    wrong = deepcopy(exact_model)
    with torch.no_grad():
        wrong.network.last.mul_(0.97)
        wrong.network.last_bias.mul_(0.97)
    after = predict(wrong, atoms, TEMPERATURE)
    # Where a Fermi level would have gone up into the empty band.
    assert after.charge == pytest.approx(0.97 * before.charge, rel=1e-6)
    assert float(after.terms.free) == pytest.approx(float(before.terms.free), abs=1e-8)


def test_the_free_energy_changes_with_the_outputs_as_its_row_says(exact_model: ElectronModel) -> None:
    check_row(deepcopy(exact_model), molecules(4), TEMPERATURE)


def test_the_weight_of_free_energies_corrects_them(data: Path, model: ElectronModel) -> None:
    paths = sorted((data / "snapshots").glob("*.zarr"))
    shares = torch.ones(model.network.members, len(paths))
    errors = []
    for weight in (0.0, 1e3):
        fitted = deepcopy(model)
        fit_last_layer(fitted, paths, shares, 1e-7, 30.0, weight)
        errors.append([errors_on(fitted, read_snapshot(path)).free for path in paths])
    # All differ from GPAW by the same 0.09 eV/atom, by which this cutoff is too low for hydrogen's ion.
    assert np.ptp(errors[1]) < 0.1 * np.ptp(errors[0])


def test_workers_and_large_cells_give_the_same(model: ElectronModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = molecules(1) * (2, 2, 2)
    large.rattle(0.03, seed=3)
    path = tmp_path / "m.safetensors"
    model.save(path)
    plain = api.predict(path, large, forces=True)
    monkeypatch.setattr("nucleate.electrons.model.slabs.KEPT_BYTES", 0)
    found = api.predict(path, large, forces=True, workers=2, scratch=tmp_path / "slabs")
    assert float(found.terms.free) == pytest.approx(float(plain.terms.free), abs=1e-5 * len(large))
    assert float((found.forces - plain.forces).abs().max()) < 1e-4


def test_an_insulator_that_is_learned_as_a_metal_has_finite_weights(data: Path, tmp_path: Path) -> None:
    descriptor = {"radial": 5, "degree": 2, "cutoff": 4.0}
    settings = ElectronTraining(steps=100, points=600, hidden=(12, 12), descriptor=descriptor, validation=0.0, occupied=False)
    # No state is near the Fermi level of a snapshot, so that its free energy has no derivatives in the density of states.
    assert bool(torch.isfinite(train([data], tmp_path / "model", settings)[0].network.last).all())


def test_what_is_learned_follows_from_the_snapshots(
    al_data: Path, data: Path, snapshot: Snapshot, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metal = read_snapshot(al_data / "snapshots/0000.zarr", ldos=False)
    insulator = read_snapshot(data / "snapshots/0000.zarr", ldos=False)
    assert choose_channels(None, [metal]) == ("total",)
    assert choose_channels(None, [insulator]) == ("total", "occupied")
    assert choose_channels(False, [insulator]) == ("total",)
    with caplog.at_level(logging.WARNING):
        assert choose_channels(None, [insulator, metal]) == ("total",)
    assert "1 of 2 snapshots have no band gap or were sampled by an earlier version" in caplog.text
    with pytest.raises(BadInput, match="1 of 2 snapshots have no band gap"):
        choose_channels(True, [insulator, metal])
    path = tmp_path / "0000.zarr"
    write_snapshot(path, replace(snapshot, occupied_ldos=None))
    with pytest.raises(BadInput, match="occupied_ldos"):
        read_snapshot(path)
