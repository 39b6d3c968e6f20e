"""One search whose results all exports of this room write."""

import pytest

from nucleate import api

SETTINGS = {
    "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0},
    "search": {"pool": 16, "first_batch": 4, "batch": 3, "max_rounds": 5},
    "generate": {"workers": 1, "prototype_share": 0.0},
    "model": {"members": 2, "radial": 6, "channels": 4, "hidden": 8},
    "training": {"steps": 24, "warm_steps": 12},
    "relax": {"max_steps": 40, "workers": 1},
    "pressure": 2.0,
}


@pytest.fixture(scope="session")
def searched(tmp_path_factory):
    """The run folder; copy it to change it."""
    folder = tmp_path_factory.mktemp("export") / "run"
    result = api.search("Cu2", settings=SETTINGS, seed=3, out=folder)
    assert result.polymorphs
    return folder
