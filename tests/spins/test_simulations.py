"""Simulations that are stopped, damaged or refused, and their command line."""

import fcntl
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app, main
from nucleate.errors import BadInput, NucleateError, RunFolderError
from nucleate.progress import Step
from nucleate.spins.couplings import Couplings, tensor
from nucleate.spins.files.table import read_table, table_text
from nucleate.spins.order.curie import leading_order, rpa, waves_of
from nucleate.spins.shells import on_shells
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.observables.order import order_squared, phases
from nucleate.spins.simulate.settings import SimulationSettings
from nucleate.spins.simulate.simulation import cells_of, simulate

CUBIC = Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [1.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.full(3, 10.0)))


def settings(**more):
    return SimulationSettings(**{"temperatures": [100.0, 150.0, 200.0], "sizes": [3, 4], "measurements": 64, "equilibration": 10, **more})


@pytest.mark.parametrize("method", ["monte-carlo", "dynamics"])
def test_a_stopped_simulation_ends_as_an_unbroken_one(tmp_path, monkeypatch, method):
    monkeypatch.setattr("nucleate.spins.simulate.simulation.CHECKPOINT", 0.0)
    wanted = settings(method=method, interval=3)
    whole = simulate(CUBIC, wanted).rows

    class Stop(Exception):
        pass

    for left in (16, 48, 80):

        def progress(event, left=left):
            if isinstance(event, Step) and event.done + (64 if event.phase == "4 cells" else 0) >= left:
                raise Stop

        with pytest.raises(Stop):
            simulate(CUBIC, wanted, tmp_path / "run", progress=progress)
    assert simulate(CUBIC, wanted, tmp_path / "run").rows == whole
    assert len(json.loads((tmp_path / "run" / "table.json").read_text())) == 6


def test_threads_change_nothing():
    assert simulate(CUBIC, settings(), threads=3).rows == simulate(CUBIC, settings()).rows


def test_a_folder_keeps_to_its_simulation(tmp_path):
    simulate(CUBIC, settings(), tmp_path / "run")
    with pytest.raises(RunFolderError, match="another simulation"):
        simulate(CUBIC, settings(seed=1), tmp_path / "run")
    with pytest.raises(RunFolderError, match="contains 64 measurements already"):
        simulate(CUBIC, settings(measurements=32), tmp_path / "run")


def test_more_measurements_go_on_from_those_that_are_there(tmp_path):
    simulate(CUBIC, settings(), tmp_path / "run")
    longer = simulate(CUBIC, settings(measurements=128), tmp_path / "run")
    whole = simulate(CUBIC, settings(measurements=128))
    assert longer.rows == whole.rows
    assert (longer.coldest == whole.coldest).all()


def test_show_tells_which_sublattices_oppose(tmp_path):
    pair = Couplings(3 * np.eye(3), [[0, 0, 0], [1.5, 1.5, 1.5]], ("Cr", "Cr"), [2.0, 2.0], [0], [1], [[0, 0, 0]], tensor([-5.0]))
    (tmp_path / "c.csv").write_text(table_text(pair))
    shown = CliRunner().invoke(app, ["spins", "show", str(tmp_path / "c.csv"), "--json"])
    signs = json.loads(shown.stdout)["estimates"]["sublattices"]
    assert signs[0] * signs[1] == -1
    assert "sites" in CliRunner().invoke(app, ["spins", "show", str(tmp_path / "c.csv")]).output


def test_two_processes_do_not_share_a_folder(tmp_path):
    simulate(CUBIC, settings(), tmp_path / "run")
    with (tmp_path / "run" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RunFolderError, match="another simulation is running"):
            simulate(CUBIC, settings(), tmp_path / "run")
    simulate(CUBIC, settings(), tmp_path / "run")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 200])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    simulate(CUBIC, settings(), tmp_path / "run")
    path = tmp_path / "run" / "size-4.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunFolderError, match=r"size-4\.npz: the checkpoint"):
        simulate(CUBIC, settings(), tmp_path / "run")


@pytest.mark.parametrize(
    "wrong",
    [{"temperatures": [-1.0]}, {"temperatures": []}, {"temperatures": [2.0, 1.0]}, {"sizes": [0]}, {"damping": 0.0}, {"measurements": 3}],
)
def test_settings_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError):
        settings(**wrong)


def run(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nucleate", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    caught = capsys.readouterr()
    return ended.value.code, caught.out, caught.err


def test_the_verbs_on_a_table(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(table_text(CUBIC))
    shown = CliRunner().invoke(app, ["spins", "show", str(path), "--json"], catch_exceptions=False)
    assert json.loads(shown.stdout)["estimates"]["mean_field"] == pytest.approx(20 / 8.617333262e-2)
    command = ["spins", "simulate", str(path), "--temperatures", "140:200:20", "--size", "3", "--size", "6", "--json"]
    command += ["--measurements", "128", "--out", str(tmp_path / "run"), "--plot", str(tmp_path / "c.png")]
    command += ["--picture", str(tmp_path / "s.svg")]
    data = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).stdout)
    assert len(data["rows"]) == 8
    # The simple cubic ferromagnet orders at kT = 1.4429 J; small sizes and short series leave a few kelvin.
    (crossing,) = data["crossings"]
    assert crossing["error"] < 6
    assert abs(crossing["temperature"] - 1.4429 * 10 / 8.617333262e-2) < 3 * crossing["error"] + 3
    assert data["rows"][0]["order"] > data["rows"][3]["order"]
    assert (tmp_path / "c.png").stat().st_size > 5000
    assert (tmp_path / "s.svg").read_text().startswith("<?xml")
    converted = CliRunner().invoke(app, ["spins", "convert", str(path), str(tmp_path / "exchange.out")], catch_exceptions=False)
    assert converted.exit_code == 0
    again = CliRunner().invoke(app, ["spins", "show", str(tmp_path / "exchange.out"), "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["estimates"]["mean_field"] == pytest.approx(20 / 8.617333262e-2, rel=1e-4)


def test_the_deprecated_range_of_temperatures_names_its_replacement(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(table_text(CUBIC))
    rest = ["--size", "2", "--measurements", "64", "--seed", "1", "--json"]
    old = CliRunner().invoke(app, ["spins", "simulate", str(path), "--temperature-range", "140", "160", "2", *rest])
    new = CliRunner().invoke(app, ["spins", "simulate", str(path), "--temperatures", "160,140", *rest])
    assert old.exit_code == new.exit_code == 0
    assert "give --temperatures 140:160:20" in old.stderr
    assert json.loads(old.stdout)["rows"] == json.loads(new.stdout)["rows"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["spins", "simulate", "{c}", "--temperatures", "10:-5:-5"], "above 0 K"),
        (["spins", "simulate", "{c}", "--temperatures", "10:50:-5"], "leads away"),
        (["spins", "simulate", "{c}", "--temperatures", "ten"], "START:STOP:STEP"),
        (["spins", "simulate", "{c}", "--temperatures", "300,,400"], "such as 300,400,500"),
        (["spins", "simulate", "{c}"], "--temperatures 210:300:15"),
        (["spins", "simulate", "{c}", "--temperatures", "10:50:20", "--method", "guess"], "method"),
        (["spins", "simulate", "{c}", "--temperatures", "10:50:20", "--plot", "x.xyz"], "matplotlib"),
        (["spins", "simulate", "{c}", "--temperature-range", "10", "50", "1"], "increasing temperatures"),
        (["spins", "simulate", "{c}", "--temperatures", "10:50:20", "--plot", "nowhere/x.png"], "folder does not exist"),
        (["spins", "convert", "{c}", "nowhere/x.cfg"], "folder does not exist"),
        (["spins", "couple", "{c}", "--out", "x", "--moment", "Mn5"], "give an element and its moment"),
        (["spins", "couple", "{c}", "--out", "x", "--moment", "Mm=5"], "unknown element"),
        (["spins", "lattice", "{c}", "x.csv", "--moment", "Mn=-5", "--shell", "1"], "give a magnitude"),
        (["spins", "couple", "{c}", "--out", "x", "--moment", "Mn=5", "--method", "tb2j", "--insulator"], "have no effect"),
        (["spins", "show", "nowhere.csv"], "no such file"),
        (["spins", "convert", "{c}", "x.dat"], "unknown file format"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    path = tmp_path / "c.csv"
    path.write_text(table_text(CUBIC))
    code, _, error = run([a.format(c=path) for a in arguments], monkeypatch, capsys)
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1
    assert "Traceback" not in error


def test_an_order_does_not_depend_on_the_cell_it_is_written_in():
    """Equivalent waves fold onto one in a larger cell: the order of one domain is one in either."""
    for atoms, size in ((bulk("MnO", "rocksalt", a=4.4), 4), (bulk("MnO", "rocksalt", a=4.4, cubic=True), 2)):
        couplings = on_shells(atoms, {"Mn": 4.5}, [-2.0, -10.0])
        lattice = SpinLattice.build(couplings, (size,) * 3)
        phase = phases(lattice, *waves_of(couplings, (size,) * 3, leading_order(couplings)))
        # Planes along [111] alternate.
        layer = np.round(lattice.positions @ np.array([1, 1, 1]) / 4.4 * 2 / 2).astype(int)
        spins = ((-1.0) ** layer)[:, None] * np.array([[0.0, 0.6, 0.8]])
        assert order_squared(spins, phase) == pytest.approx(1.0)
    noisy = Couplings(
        **{
            **vars(couplings),
            "tensors": couplings.tensors + 1e-4 * np.random.default_rng(0).normal(size=(len(couplings.first), 1, 1)) * np.eye(3),
        }
    )
    assert len(waves_of(noisy, (2, 2, 2), leading_order(noisy))[0]) == len(phase)


def test_a_layer_stays_a_layer_wherever_the_cell_cuts_it():
    layer = Couplings(
        3 * np.eye(3), [[0, 0, 0.6], [0, 0, 2.4]], ("Fe", "Fe"), [1, 1], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1],
        [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, -1]], tensor(np.ones(5)),
    )  # fmt: skip
    assert cells_of(layer, 8) == (8, 8, 1)
    with pytest.raises(NucleateError, match="along 2 directions"):
        rpa(layer)
    assert cells_of(CUBIC, 8) == (8, 8, 8)


def test_frustration_without_an_order_is_said():
    """Nearest neighbours on the kagome lattice: a flat band."""
    cell = 5 * np.array([[1, 0, 0], [0.5, 0.75**0.5, 0], [0, 0, 2]])
    atoms = Atoms("Fe3", cell=cell, positions=np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]]) @ cell, pbc=True)
    kagome = on_shells(atoms, {"Fe": 1.0}, [-1.0])
    with pytest.raises(NucleateError, match="do not determine an order"):
        simulate(kagome, settings(sizes=[18]))


def test_domains_of_an_order_count_as_one():
    """Type II of the fcc lattice has four wave vectors and mixtures of them: none may be lost."""
    couplings = on_shells(bulk("MnO", "rocksalt", a=4.4), {"Mn": 4.5}, [-2.0, -10.0])
    lattice = SpinLattice.build(couplings, (4, 4, 4))
    waves, sites = waves_of(couplings, (4, 4, 4), leading_order(couplings))
    assert len(waves) == 4
    phase = phases(lattice, waves, sites)
    cells = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    for wave in waves:
        spins = np.cos(2 * np.pi * (cells @ wave)).round()[:, None] * np.array([[0.6, 0.0, 0.8]])
        assert order_squared(spins, phase) == pytest.approx(1.0)
    # Four simple cubic lattices, each along a direction of its own: as low in energy, and as well ordered.
    signs = np.cos(2 * np.pi * (cells @ waves.T)).round()
    axes = lattice.random(np.random.default_rng(0))[:4]
    own = ((signs[:, None, :] * signs[None, :, :]).sum(axis=-1) != 0).argmax(axis=0)
    mixed = signs[:, :1] * axes[np.unique(own, return_inverse=True)[1]]
    assert order_squared(mixed, phase) == pytest.approx(1.0)
    rows = simulate(couplings, settings(temperatures=[20.0], sizes=[4], measurements=32, equilibration=400)).rows
    assert rows[0].order > 0.9


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_tutorial_runs_as_written(tmp_path, monkeypatch):
    pytest.importorskip("gpaw")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    page = (Path(__file__).parents[2] / "docs" / "tutorial-spins.md").read_text(encoding="utf-8")
    for kind, block in re.findall(r"```(python|bash)\n(.*?)```", page, re.DOTALL):
        if kind == "python":
            exec(compile(block, "docs/tutorial-spins.md", "exec"), {})
        else:
            subprocess.run(["bash", "-e", "-c", block], check=True)
    assert read_table("mno.csv").isotropic.max() < 0
    assert (tmp_path / "curves.png").stat().st_size > 10000
    assert len(json.loads((tmp_path / "run" / "table.json").read_text())) == 14


def test_a_lattice_without_couplings_is_refused():
    alone = Couplings(np.eye(3), np.zeros((1, 3)), ("Fe",), [1], [], [], np.zeros((0, 3)), np.zeros((0, 3, 3)))
    with pytest.raises(BadInput, match="no couplings between"):
        simulate(alone, settings())
