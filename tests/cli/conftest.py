import os

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

os.environ.setdefault("OMP_NUM_THREADS", "1")


class EMTReference:
    """A classical potential in the reference's place: milliseconds a call."""

    name = "emt"
    surrogate = True

    def settings(self):
        return {"engine": "emt"}

    def label(self, atoms: Atoms):
        from nucleate.reference.base import Label

        atoms = atoms.copy()
        atoms.calc = EMT()
        return Label(float(atoms.get_potential_energy()), np.array(atoms.get_forces()), np.array(atoms.get_stress()))


TINY = """
[reference]
engine = "ase"
calculator = "ase.calculators.emt:EMT"
[search]
pool = 8
first_batch = 4
batch = 2
max_rounds = 1
lead_fmax = 5.0
proof = false
[generate]
workers = 1
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


@pytest.fixture(autouse=True)
def emt(monkeypatch):
    """Engine `ase` is EMT in this process; all others stay what they are."""
    import nucleate.api
    import nucleate.reference.build
    import nucleate.relaxing

    real = nucleate.reference.build.make_reference

    def make(settings):
        return EMTReference() if settings.engine == "ase" else real(settings)

    monkeypatch.setattr(nucleate.api, "make_reference", make)
    monkeypatch.setattr(nucleate.relaxing, "make_reference", make)


@pytest.fixture
def tiny(tmp_path):
    """A settings file for a search of seconds."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run folder of a finished search of Cu2; copy it to change it."""
    import tomllib

    from nucleate import api

    folder = tmp_path_factory.mktemp("runs") / "Cu2"
    api.search("Cu2", settings=tomllib.loads(TINY), reference=EMTReference(), out=folder)
    return folder
