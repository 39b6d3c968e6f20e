"""Sampling: resumable, failures recorded, files whole or refused; dynamics as asked for."""

import shutil
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk

from nucleate.electrons.data import sampling
from nucleate.electrons.data.convergence import Shift, check_meshes, read_convergence, write_convergence
from nucleate.electrons.data.dynamics import DynamicsSettings, run_dynamics, starting_cell, statistics
from nucleate.electrons.data.ground_state import ground_state, self_consistent
from nucleate.electrons.data.mala_files import read_mala
from nucleate.electrons.data.sampling import SampleSettings, label_structures, sample
from nucleate.electrons.data.store import read_snapshot, snapshot_paths, write_snapshot
from nucleate.electrons.emulator.gpaw_start import converge
from nucleate.electrons.events import SnapshotDone, SnapshotFailed
from nucleate.electrons.levels.occupation import occupation
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.electrons.settings import GroundStateSettings
from nucleate.errors import BadInput, MissingDependency, ReferenceFailed, RunFolderError
from nucleate.persist.files import read_lines
from nucleate.progress import Event
from nucleate.units import BOLTZMANN, HARTREE
from tests.electrons.conftest import AL4

MALA = Path(__file__).parents[2].parent / "shared/data/mala_be2"


def test_dynamics_keep_volume_and_temperature_and_repeat() -> None:
    settings = DynamicsSettings(material="Al", atoms=8, temperature=600, volume=17.2, snapshots=4, equilibration=100, interval=40)
    first, again = run_dynamics(settings).structures, run_dynamics(settings).structures
    assert len(first) == 4
    assert all(len(a) == 8 and a.get_volume() == pytest.approx(8 * 17.2) for a in first)
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(first, again, strict=True))
    assert np.abs(first[0].positions - first[1].positions).max() > 0.02


def test_statistics_of_the_dynamics_show_equilibration_and_independence() -> None:
    settings = DynamicsSettings(material="Al", atoms=16, temperature=600, volume=17.2, snapshots=4, equilibration=300, interval=200)
    found = run_dynamics(settings).statistics
    assert found is not None
    # 600 steps of 2 fs with a friction of 0.02/fs: the kinetic temperature of 48 degrees of freedom fluctuates by 20 % in each step.
    assert found.temperature == pytest.approx(600, rel=0.15)
    assert 5 < found.correlation_time < 400
    assert found.interval == 400


@pytest.mark.parametrize(("slope", "interval", "word"), [(0.02, 1000.0, "still changes"), (0.0, 1.0, "correlated"), (0.0, 1000.0, "")])
def test_a_drift_and_correlated_structures_are_named(slope: float, interval: float, word: str) -> None:
    noise = np.random.default_rng(0).normal(size=(2000, 8)).mean(axis=1)
    noise = np.convolve(noise, np.ones(10), mode="valid")
    found = statistics(noise + slope * np.arange(len(noise)), np.full(len(noise), 300.0), 2.0, interval)
    assert word in found.warning
    assert bool(found.warning) == bool(word)


def test_convergence_is_measured_once_and_written(al_data: Path) -> None:
    found = read_convergence(al_data)
    assert found is not None
    # A spacing of 0.6 1/Å is far from converged for the free energy of four atoms; 200 eV are close to it for the forces.
    assert 1 < abs(found["k_points"].free) < 200
    assert 0 < found["cutoff"].forces < 100
    assert found["cutoff"].free < 0
    (line,) = [line for line in read_lines(al_data / "events.jsonl") if line["event"] == "dynamics"]
    assert line["temperature"] == pytest.approx(933, rel=0.5)


def test_meshes_with_different_errors_are_refused_together(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = [tmp_path / name for name in ("coarse", "fine", "unknown")]
    for folder, error in zip(folders, (-5.0, 0.5, None), strict=True):
        folder.mkdir()
        if error is not None:
            shifts = {
                "k_points": Shift(free=error, fermi_level=0.0, forces=0.0, pressure=0.0),
                "cutoff": Shift(free=-30.0, fermi_level=0.0, forces=0.0, pressure=0.0),
            }
            write_convergence(folder, shifts, GroundStateSettings(), 0)
    with pytest.raises(BadInput, match=r"fine and .*coarse: .* \+0\.5 and -5\.0 meV/atom"):
        check_meshes([*folders, folders[0]])
    assert "has not been measured" in caplog.text
    check_meshes(folders[1:])
    check_meshes(folders[:1])
    (folders[0] / "convergence.json").write_text('{"k_points": 3}', encoding="utf-8")
    with pytest.raises(BadInput, match=r"convergence\.json"):
        check_meshes(folders)


def test_a_folder_of_an_earlier_version_is_taken_up_without_forces(al_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = tmp_path / "al"
    shutil.copytree(al_data, copy)
    (copy / "convergence.json").unlink()
    first = copy / "snapshots/0000.zarr"
    old = replace(read_snapshot(first), forces=None, stress=None)
    shutil.rmtree(first)
    write_snapshot(first, old)
    assert len(sample(copy, SampleSettings.model_validate(AL4))) == 3
    assert "contains no forces" in caplog.text
    assert read_convergence(copy) is None


def test_forces_and_stress_are_stored_and_are_those_of_the_free_energy(al_data: Path) -> None:
    snapshot = read_snapshot(al_data / "snapshots/0000.zarr", ldos=False)
    assert snapshot.forces is not None
    assert snapshot.stress is not None
    assert len(snapshot.engine["mesh"]) == 3
    settings = GroundStateSettings(**AL4["ground_state"])
    energies = []
    for sign in (1, -1):
        moved = snapshot.atoms.copy()
        moved.positions[1, 2] += sign * 0.01
        energies.append(float(self_consistent(moved, settings).dft.energies.total_free) * HARTREE)
    # The energies are converged to 1e-6 eV per valence electron.
    assert -(energies[0] - energies[1]) / 0.02 == pytest.approx(snapshot.forces[1, 2], abs=5e-3)
    assert np.abs(snapshot.forces.sum(axis=0)).max() < 0.02
    assert np.allclose(snapshot.stress, snapshot.stress.T)


def test_the_stress_is_the_derivative_at_a_fixed_cutoff() -> None:
    """At this cutoff, the stress at a fixed number of plane waves is wrong by 2 GPa."""
    settings = GroundStateSettings(cutoff=250, k_spacing=0.9, electronic_temperature=300)
    volumes, energies = [], []
    for factor in (0.96, 1.04):
        atoms = bulk("Si", a=5.4 * factor ** (1 / 3))
        volumes.append(atoms.get_volume())
        energies.append(float(self_consistent(atoms, settings).dft.energies.total_free) * HARTREE)
    snapshot = ground_state(bulk("Si", a=5.4), settings)
    assert snapshot.stress is not None
    pulay = snapshot.details["pulay_stress"]
    slope = (energies[1] - energies[0]) / (volumes[1] - volumes[0])
    stress = np.trace(snapshot.stress) / 3
    assert abs(stress - slope) < 0.25 * abs(pulay)
    assert abs(stress - pulay - slope) > 0.75 * abs(pulay)


def test_hot_electrons_have_enough_bands_at_once() -> None:
    """Otherwise GPAW makes all iterations that are allowed before it says so."""
    settings = GroundStateSettings(cutoff=200, k_spacing=0.9, electronic_temperature=10_000, max_iterations=50)
    calculator = self_consistent(bulk("Al", a=4.05, cubic=True), settings)
    assert calculator.get_number_of_iterations() < settings.max_iterations
    levels = calculator.dft.ibzwfs
    top = min(float(wfs.eig_n[-1]) for wfs in levels) - float(levels.fermi_level)
    assert top * HARTREE > 12 * BOLTZMANN * settings.electronic_temperature


def test_the_bands_fill_the_window(tmp_path: Path) -> None:
    """The second snapshot is computed with what the first one needed."""
    settings = GroundStateSettings(cutoff=150, k_spacing=1.5, electronic_temperature=3000, high=40.0)
    bare = self_consistent(bulk("Al", a=4.05), settings)
    assert min(float(wfs.eig_n[-1]) for wfs in bare.dft.ibzwfs) * HARTREE < settings.high
    first, second = (read_snapshot(path) for path in label_structures(tmp_path, [bulk("Al", a=4.05), bulk("Al", a=4.1)], settings))
    assert first.details["bands"] > bare.dft.ibzwfs.nbands
    for snapshot in (first, second):
        assert snapshot.details["complete_to"] > settings.high
        assert snapshot.dos[-1] > 0.0
    assert first.details["reach"] == second.details["reach"]
    assert first.terms["free"] == pytest.approx(float(bare.dft.energies.total_free) * HARTREE, abs=1e-4)


def test_a_liquid_has_lost_its_crystal() -> None:
    def wandered(phase: str) -> float:
        settings = DynamicsSettings(material="Al", atoms=16, temperature=933, volume=17.6, snapshots=1, equilibration=300, phase=phase)
        shift = run_dynamics(settings).structures[0].get_scaled_positions() - starting_cell(settings).get_scaled_positions()
        shift -= shift[0]
        shift -= np.round(shift)
        return float(np.sqrt((((shift - shift.mean(0)) @ starting_cell(settings).cell.array) ** 2).sum(1).mean()))

    assert wandered("solid") < 0.7
    assert wandered("liquid") > 1.5


def test_a_sampling_taken_up_again_computes_what_is_missing_alone(al_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "al"
    shutil.copytree(al_data, copy)
    shutil.rmtree(copy / "snapshots/0001.zarr")
    (copy / "snapshots/0001.zarr.part").mkdir()
    real, asked = sampling.ground_state, []

    def counted(*given: object, **more: object) -> object:
        asked.append(given)
        return real(*given, **more)

    monkeypatch.setattr(sampling, "ground_state", counted)
    paths = sample(copy, SampleSettings.model_validate(AL4))
    assert len(paths) == 3
    assert len(asked) == 1
    before, after = (read_snapshot(folder / "snapshots/0001.zarr") for folder in (al_data, copy))
    assert np.array_equal(before.ldos, after.ldos)
    assert before.terms == after.terms
    changed = {**AL4, "ground_state": {**AL4["ground_state"], "cutoff": 210.0}}
    with pytest.raises(RunFolderError, match="other settings"):
        sample(copy, SampleSettings.model_validate(changed))


def test_failures_are_kept_out_and_named(al_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = ase.io.read(al_data / "structures.extxyz", index=":")
    real = read_snapshot(al_data / "snapshots/0000.zarr")

    def stands_in(atoms: object, *_: object, **__: object) -> object:
        if np.array_equal(atoms.positions, frames[1].positions):
            raise ReferenceFailed("gpaw: not converged after 100 iterations", kind="unconverged")
        return real

    monkeypatch.setattr(sampling, "ground_state", stands_in)
    events: list[Event] = []
    paths = label_structures(tmp_path, frames, GroundStateSettings(), progress=events.append)
    assert [path.stem for path in paths] == ["0000", "0002"]
    assert [event.number for event in events if isinstance(event, SnapshotFailed)] == [1]
    assert [(event.number, event.done) for event in events if isinstance(event, SnapshotDone)] == [(0, 1), (2, 2)]
    failure = next(line for line in read_lines(tmp_path / "events.jsonl") if line["event"] == "failure")
    assert failure["number"] == 1
    assert "not converged" in failure["reason"]


def test_without_gpaw_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nucleate.gpaw.session.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="GPAW is not installed"):
        sample(tmp_path / "al", SampleSettings.model_validate(AL4))
    assert not (tmp_path / "al").exists()
    with pytest.raises(MissingDependency, match="GPAW is not installed"):
        converge(starting_cell(DynamicsSettings(material="Al", atoms=4)), GroundStateSettings())


def test_a_window_that_cuts_off_occupied_states_is_a_failure_with_the_missing_charge(al_data: Path, tmp_path: Path) -> None:
    frames = ase.io.read(al_data / "structures.extxyz", index=":")[:1]
    # One k-point shows it.
    settings = GroundStateSettings(**{**AL4["ground_state"], "k_spacing": 9.0, "low": 0.0, "high": 8.0})
    with pytest.raises(BadInput, match="no ground state"):
        label_structures(tmp_path, frames, settings)
    (failure,) = [line for line in read_lines(tmp_path / "events.jsonl") if line["event"] == "failure"]
    assert "misses" in failure["reason"]
    missing = float(failure["reason"].split("misses ")[1].split()[0])
    assert 1 < missing < 12


def test_damaged_and_foreign_files_are_named(al_data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="folder does not exist"):
        snapshot_paths(tmp_path / "nothing")
    with pytest.raises(BadInput, match="no finished snapshots"):
        snapshot_paths(tmp_path)
    copy = tmp_path / "al"
    shutil.copytree(al_data, copy)
    (copy / "snapshots/0001.zarr/zarr.json").write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=r"0001\.zarr: the snapshot cannot be read"):
        train([copy], tmp_path / "model", ElectronTraining(steps=1))


def test_snapshots_of_different_electrons_do_not_go_together(al_data: Path, tmp_path: Path) -> None:
    frames = ase.io.read(al_data / "structures.extxyz", index=":")[:1]
    other = GroundStateSettings(**{**AL4["ground_state"], "sigma": 0.2, "cutoff": 150.0, "k_spacing": 9.0, "low": -6.0, "high": 9.0})
    label_structures(tmp_path, frames, other)
    with pytest.raises(BadInput, match=r"not compatible with .* energies"):
        train([al_data, tmp_path], tmp_path / "model", ElectronTraining(steps=1))


@pytest.mark.skipif(not MALA.exists(), reason="the MALA project's test data are not here")
def test_malas_snapshots_are_read_in_their_units() -> None:
    snapshot = read_mala(MALA / "Be_snapshot0.out.npy", MALA / "Be_snapshot0.out", -5.0, 2.5, {"Be": 2.0}, units="1/(eV*A^3)")
    voxel = snapshot.atoms.get_volume() / snapshot.ldos[..., 0].size
    dos = torch.tensor(snapshot.ldos.sum((0, 1, 2), dtype=float) * voxel)
    assert snapshot.fermi_level is not None
    level = torch.tensor(snapshot.fermi_level, dtype=torch.float64)
    electrons = float(occupation(torch.tensor(snapshot.energies), level, snapshot.temperature).number @ dos)
    # Levels 2.5 eV wide leak out of the window below; in 1/(eV bohr³) there would be seven times as many.
    assert 3.3 < electrons < 4
    assert snapshot.temperature == pytest.approx(300, abs=0.1)
    with pytest.raises(BadInput, match="shape"):
        read_mala(MALA / "Be_snapshot0.dos.npy", MALA / "Be_snapshot0.out", -5.0, 2.5, {"Be": 2.0})
    with pytest.raises(BadInput, match="valence electrons of Be"):
        read_mala(MALA / "Be_snapshot0.out.npy", MALA / "Be_snapshot0.out", -5.0, 2.5, {})
    with pytest.raises(BadInput, match="units"):
        read_mala(MALA / "Be_snapshot0.out.npy", MALA / "Be_snapshot0.out", -5.0, 2.5, {"Be": 2.0}, units="furlongs")
