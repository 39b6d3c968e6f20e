"""The verbs of electrons as Python functions."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from ase.build import bulk

from nucleate.electrons import api
from nucleate.electrons.data.store import read_snapshot
from nucleate.electrons.events import NetworkStep
from nucleate.electrons.model.model import ElectronModel
from nucleate.errors import BadInput
from nucleate.progress import Event, Step

SMALL = {"points": 300, "hidden": (8,), "descriptor": {"radial": 3, "degree": 1, "cutoff": 4.0}}


def test_train_evaluate_predict(al_data: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    model, errors = api.train(al_data, tmp_path / "model", settings=SMALL, steps=200, progress=events.append)
    assert [(e.phase, e.done, e.total) for e in events if isinstance(e, NetworkStep)] == [("training", 100, 200), ("training", 200, 200)]
    assert len(errors) == 1
    seen: list[Event] = []
    again = api.evaluate(tmp_path / "model", [al_data], progress=seen.append)
    assert [e.errors for e in seen if isinstance(e, api.SnapshotEvaluated)] == again
    assert again[-1].density == pytest.approx(errors[0].density, rel=1e-6)

    atoms = read_snapshot(al_data / "snapshots/0002.zarr", ldos=False).atoms
    steps: list[Event] = []
    one, two = api.predict(model, atoms, progress=steps.append), api.predict(tmp_path / "model", atoms, temperature=933.0)
    assert one.temperature == two.temperature == 933.0
    assert float(one.terms.free) == pytest.approx(float(two.terms.free), abs=1e-9)
    assert {step.phase for step in steps if isinstance(step, Step)} >= {"density of states"}
    # Electrons are counted by the density, whatever the network has learned.
    assert float(one.density.sum()) * float(one.grid.voxel) == pytest.approx(3 * len(atoms), rel=1e-10)


def test_pressures_of_earlier_snapshots_are_not_compared(
    al_model: ElectronModel, al_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "0000.zarr"
    shutil.copytree(al_data / "snapshots/0000.zarr", path)
    (now,) = api.evaluate(al_model, path, forces=True)
    assert math.isfinite(now.pressure)
    assert not caplog.text
    group = zarr.open_group(path, mode="r+")
    group.attrs["details"] = {name: value for name, value in group.attrs["details"].items() if name != "pulay_stress"}
    (before,) = api.evaluate(al_model, path, forces=True)
    assert before.forces == now.forces
    assert math.isnan(before.pressure)
    assert "pressure is not compared" in caplog.text


def test_options_override_settings_of_a_sampling(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="snapshots"):
        api.sample(tmp_path / "al", settings={"dynamics": {"material": "Al", "snapshots": 3}}, snapshots=0)
    with pytest.raises(BadInput, match="cutof"):
        api.sample(tmp_path / "al", material="Al", cutof=200)
    with pytest.raises(BadInput, match="tables"):
        api.sample(tmp_path / "al", settings={"dynamics": 3})
    assert not (tmp_path / "al").exists()


def test_start_density_conserves_charge(al_data: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    emulator = api.fit_start(al_data, tmp_path, progress=events.append, radial=3, degree=1, cutoff=4.0)
    assert [event.done for event in events if isinstance(event, Step)] == [1, 2, 3]
    atoms = read_snapshot(al_data / "snapshots/0001.zarr", ldos=False).atoms
    density = api.start_density(emulator, atoms, k_spacing=0.6, temperature=933.0).density
    assert density.mean() * atoms.get_volume() == pytest.approx(3 * len(atoms), rel=1e-6)
    with pytest.raises(BadInput, match="Cu"):
        api.start_density(tmp_path, bulk("Cu", cubic=True))
    assert np.isfinite(density).all()
