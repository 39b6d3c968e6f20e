"""Relaxations, checks, couplings and lattices ask a shared ledger before they calculate, as searches do."""

import json

import ase.io
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app

EMT = '[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\nworkers = 0\n'
ISING = '''
"""Spins on a ring of neighbours, as an ASE calculator."""
import numpy as np
from ase.calculators.calculator import Calculator, all_changes


class Ising(Calculator):
    implemented_properties = ["energy", "forces", "stress", "magmoms", "magmom"]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moments = atoms.get_initial_magnetic_moments()
        distances = atoms.get_all_distances(mic=True)
        near = (distances > 0) & (distances < 3.2)
        energy = -0.01 * float(np.sign(moments) @ near @ np.sign(moments))
        self.results = {"energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": np.zeros(6), "magmoms": moments,
                        "magmom": float(moments.sum())}
'''


def answer(*words):
    ended = CliRunner().invoke(app, [str(word) for word in words])
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)


def attempts(address):
    from nucleate.reference.shared.ledger import SharedLedger

    with SharedLedger(str(address)) as shared:
        return [row.attempts for row in shared.rows()]


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "emt.toml"
    path.write_text(EMT)
    return path


def test_a_relaxation_is_paid_once(address, tmp_path):
    atoms = bulk("Cu", a=3.5, cubic=True)
    atoms.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "cu.extxyz", atoms)
    (tmp_path / "s.toml").write_text(EMT + f"ledger = {json.dumps(address)}\n")
    words = ["relax", tmp_path / "cu.extxyz", "--settings", tmp_path / "s.toml", "--json"]
    first = answer(*words, "--out", tmp_path / "1.extxyz")
    second = answer(*words, "--out", tmp_path / "2.extxyz", "--ledger", tmp_path / "own.db")
    assert first["calls"] > 4
    assert second["calls"] == 0
    assert first["structures"] == second["structures"]
    assert attempts(address) == [1] * first["calls"]


def test_a_check_is_paid_once(tmp_path, settings):
    address = tmp_path / "labels.db"
    ase.io.write(tmp_path / "cu.extxyz", bulk("Cu", a=3.6))
    words = ["check", tmp_path / "cu.extxyz", "--settings", settings, "--elastic", "--ledger", address, "--yes", "--json"]
    first, second = (answer(*words, "--out", tmp_path / name) for name in ("1", "2"))
    assert first["calls"] > 4
    assert second["calls"] == 0
    assert first["polymorphs"] == second["polymorphs"]
    assert attempts(address) == [1] * first["calls"]


def test_spin_states_and_arrangements_are_paid_once(tmp_path, settings, monkeypatch):
    address = tmp_path / "labels.db"
    (tmp_path / "ising_of_shared.py").write_text(ISING)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "c.toml").write_text('[reference]\nengine = "ase"\ncalculator = "ising_of_shared:Ising"\n')
    ase.io.write(tmp_path / "mn.extxyz", bulk("Mn", "sc", a=3.0).repeat(2))
    words = ["spins", "couple", tmp_path / "mn.extxyz", "--moment", "Mn=5", "--cutoff", "3.2", "--workers", "0"]
    words += ["--settings", tmp_path / "c.toml", "--ledger", address, "--json"]
    shells = [answer(*words, "--out", tmp_path / name)["shells"] for name in ("s1", "s2")]
    assert shells[0] == shells[1]
    states = len(attempts(address))
    assert states > 1

    ase.io.write(tmp_path / "cu.cif", bulk("Cu", a=3.6))
    words = ["lattice", "enumerate", tmp_path / "cu.cif", "--sites", "Cu=Cu,Au", "--max-cells", "1", "--out", tmp_path / "a.json", "--json"]
    answer(*words)
    words = ["lattice", "compute", tmp_path / "a.json", "--settings", settings, "--ledger", address, "--json"]
    for name in ("l1", "l2"):
        answer(*words, "--out", tmp_path / name)
    # Every calculation of either was made once.
    assert attempts(address) == [1] * (states + 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "liechtenstein", "--ledger", "l.db"], "no effect on method liechtenstein"),
        (["--method", "liechtenstein", "--settings", "l.toml"], "reference.ledger has no effect"),
        (["--ledger", "postgresql://a:b@c/d"], "password in plain sight"),
    ],
)
def test_ledgers_that_cannot_be_used_are_refused(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    ase.io.write("fe.extxyz", bulk("Fe"))
    (tmp_path / "l.toml").write_text('[reference]\nledger = "l.db"\n')
    ended = CliRunner().invoke(app, ["spins", "couple", "fe.extxyz", "--out", "o", "--moment", "Fe=2", *words])
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert not (tmp_path / "l.db").exists()
