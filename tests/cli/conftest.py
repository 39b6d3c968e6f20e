"""Searches of seconds: EMT, a classical potential of ASE's, in the reference's place."""

import tomllib

import pytest

TINY = """
[reference]
engine = "ase"
calculator = "ase.calculators.emt:EMT"
workers = 0
[search]
pool = 8
first_batch = 4
batch = 2
max_rounds = 1
lead_fmax = 5.0
proof = false
[generate]
workers = 1
prototype_share = 0.0
[model]
members = 2
radial = 4
channels = 4
hidden = 8
[training]
steps = 20
warm_steps = 10
[relax]
max_steps = 30
"""


@pytest.fixture
def tiny(tmp_path):
    """A settings file for a search of seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run folder of a finished search of Cu2; copy it to change it."""
    from nucleate import api

    folder = tmp_path_factory.mktemp("runs") / "Cu2"
    api.search("Cu2", settings=tomllib.loads(TINY), out=folder)
    return folder
