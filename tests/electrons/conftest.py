"""One small sampling on real DFT, shared by the tests of this room."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from nucleate.electrons.data.sampling import SampleSettings, sample
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.training import ElectronTraining, train

AL4 = {
    "dynamics": {"material": "Al", "atoms": 4, "temperature": 933.0, "volume": 17.0, "snapshots": 3, "equilibration": 200, "interval": 100},
    "ground_state": {"cutoff": 200.0, "k_spacing": 0.6, "electronic_temperature": 933.0, "sigma": 0.1, "spacing": 0.05},
}


@pytest.fixture(scope="session")
def al_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three snapshots of four aluminium atoms at 933 K."""
    pytest.importorskip("gpaw")
    base = tmp_path_factory.getbasetemp()
    # The parallel test processes of one session have their folders in the same place; the first that comes here computes for all.
    place = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (place / "al4.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It continues what a killed process has left, and only reads what is complete.
        sample(place / "al4", SampleSettings.model_validate(AL4))
        # Each process has a copy, which a test of another process cannot change; the next one writes here as well.
        out = tmp_path_factory.mktemp("electrons") / "al"
        shutil.copytree(place / "al4", out)
    return out


@pytest.fixture(scope="session")
def al_model(al_data: Path, tmp_path_factory: pytest.TempPathFactory) -> ElectronModel:
    """A model of them, trained for a moment."""
    out = tmp_path_factory.mktemp("electrons") / "model"
    settings = ElectronTraining(steps=150, points=600, hidden=(24, 24), descriptor={"radial": 4, "degree": 2, "cutoff": 4.0})
    return train([al_data], out, settings)[0]
