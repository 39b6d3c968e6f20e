"""Relaxations, checks and lattices in blocks of a real Slurm: the same numbers as on this computer."""

import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.lattice import api as lattice
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.cluster.given import blocks_in
from nucleate.reference.spool import BLOCKS

SETTINGS = '[reference]\nengine = "ase"\ncalculator = "ase.calculators.emt:EMT"\n'


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "emt.toml"
    path.write_text(SETTINGS)
    return path


def test_relaxations_and_arrangements_run_in_blocks(slurm, executor_file, settings, tmp_path):
    atoms = bulk("Cu", a=3.5, cubic=True)
    atoms.rattle(0.05, seed=1)
    ase.io.write(tmp_path / "cu.extxyz", atoms)
    common = ["relax", tmp_path / "cu.extxyz", "--settings", settings, "--json"]
    place = tmp_path / "cluster"
    place.mkdir()
    in_blocks = ["--ledger", place / "labels.db", "--executor", executor_file()]
    done = run(*common, "--out", tmp_path / "blocks.extxyz", *in_blocks)
    assert done.exit_code == 0, done.output
    slurm.wait_until_empty()
    local = run(*common, "--out", tmp_path / "local.extxyz")
    found = [json.loads(each.stdout) for each in (done, local)]
    assert found[0]["structures"] == found[1]["structures"]
    assert found[0]["calls"] == found[1]["calls"] > 4
    cost = Blocks.read(place / BLOCKS).cost()
    assert cost["label_core_seconds"] > 0
    # The calculations are kept: a second run starts no block.
    again = run(*common, "--out", tmp_path / "again.extxyz", *in_blocks)
    assert json.loads(again.stdout)["calls"] == 0
    assert Blocks.read(place / BLOCKS).cost()["count"] == cost["count"]

    ase.io.write(tmp_path / "cu.cif", bulk("Cu", a=3.6))
    assert (
        run("lattice", "enumerate", tmp_path / "cu.cif", "--sites", "Cu=Cu,Au", "--max-cells", 1, "--out", tmp_path / "a.json").exit_code
        == 0
    )
    words = ["lattice", "compute", tmp_path / "a.json", "--settings", settings, "--quiet", "--out", tmp_path / "lattice"]
    done = run(*words, "--executor", executor_file())
    assert done.exit_code == 0, done.output
    slurm.wait_until_empty()
    assert Blocks.read(tmp_path / "lattice" / BLOCKS).cost()["label_core_seconds"] > 0
    copper = bulk("Cu", a=3.6)
    copper.calc = EMT()
    energies = lattice.read_data(tmp_path / "lattice" / "labels.json").energies()
    assert len(energies) == 2
    assert np.abs(energies - copper.get_potential_energy()).min() < 1e-9


def test_places_of_blocks_are_refused_in_one_line(executor_file, settings, tmp_path):
    ase.io.write(tmp_path / "cu.cif", bulk("Cu", a=3.6))
    words = ["relax", tmp_path / "cu.cif", "--settings", settings]
    missing = run(*words, "--executor", tmp_path / "missing.toml")
    assert missing.exit_code == 2
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "run.db").touch()
    with pytest.raises(BadInput, match="is the folder of a search"), blocks_in(tmp_path / "search", str(executor_file()), "ase"):
        pass
    assert not (tmp_path / "search" / BLOCKS).exists()
    # Blocks of a search that may run are left alone by a calculation on this computer beside them.
    (tmp_path / "search" / BLOCKS).mkdir()
    Blocks(tmp_path / "search" / BLOCKS).submitted("1", "slurm", 1, 600.0)
    for folder in (tmp_path, tmp_path / "search"):
        with blocks_in(folder, None, "ase") as executor:
            assert executor is None
    assert not (tmp_path / BLOCKS).exists()
    assert len(Blocks.read(tmp_path / "search" / BLOCKS).left()) == 1
