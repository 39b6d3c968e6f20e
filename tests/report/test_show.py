"""The ranking as data, as a table, as files; read beside whoever works on the folder."""

import csv
import json
from collections import Counter
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

import nucleate
from nucleate.api import write_outputs
from nucleate.cli.app import app
from nucleate.csp.run_data import lower_label_text, not_resolved_text, read_run, unresolved
from nucleate.csp.run_folder import RunFolder
from nucleate.reference.base import Label

TOP = {
    "hull", "minima", "molecules", "dimensions", "magnetic", "warnings", "blocks",
    "schema", "nucleate", "folder", "formula", "pressure", "reference", "status", "finished", "round", "calls", "found_labels", "budget",
    "calls_by_status", "calls_by_purpose", "core_seconds", "wall_seconds", "resolution", "lowest_label", "polymorphs",
    "confirmed_in_this_round", "accurate", "proof", "rounds", "teacher", "teacher_error", "seed", "versions",
}  # fmt: skip
POLYMORPH = {
    "rank", "formula", "atoms", "space_group", "space_group_number", "energy", "above_best", "hull", "known", "compound",
    "lattice_energy", "area", "thickness", "extent", "magnetic_order", "moment", "net_moment", "magnetic_orders",
    "volume", "sigma", "check", "accurate_energy", "not_resolved_from", "fmax", "smax", "origin",
    "found", "calls", "own_calls", "round", "conventional_cell", "file",
}  # fmt: skip


def test_the_json_s_keys_are_those_documented(make):
    result = CliRunner().invoke(app, ["show", str(make()), "--json"])
    data = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert data["schema"] == 1
    assert set(data) == TOP
    assert set(data["polymorphs"][0]) == POLYMORPH
    assert set(data["reference"]) == {"name", "engine", "preset", "surrogate"}
    documented = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    assert [key for key in TOP | POLYMORPH if f"`{key}`" not in documented] == []


def test_what_it_holds(make):
    data = nucleate.show(make())
    assert [p["space_group"] for p in data["polymorphs"]] == ["Fd-3m", "I4_1/amd", "Pm-3m"]
    assert [p["not_resolved_from"] for p in data["polymorphs"]] == [[2], [1], []]
    assert data["polymorphs"][1]["above_best"] == pytest.approx(2.0)
    assert data["polymorphs"][0]["volume"] == pytest.approx(5.43**3 / 8)
    assert data["calls_by_status"] == {"ok": 5, "unconverged": 1}
    assert data["rounds"][1]["calibration"]["mae"] is None
    assert data["status"] == "finished"


def test_the_table_for_people(make):
    folder = make()
    result = CliRunner().invoke(app, ["show", str(folder)])
    assert "Si2 on chgnet: finished, 6 of 400 reference calls (1 failed)" in result.stdout
    assert "rank 2 is not resolved from rank 1: closer than 3 meV/atom" in result.stdout
    assert "confirmed in the current round: Cmcm" in result.stdout


def test_a_label_below_the_winner_is_said(make):
    """The labels of the fixture reach down to -5.3 eV/atom, where rank 1 lies."""
    folder = make()
    data = nucleate.show(folder)
    assert data["lowest_label"] == pytest.approx(-5.3)
    assert lower_label_text(data) == ""
    with RunFolder.open(folder) as opened:
        opened.ledger.begin("low", bulk("Si", "diamond", a=5.4), "chgnet", {}, "explore", 1)
        opened.ledger.finish("low", Label(-10.7, np.zeros((2, 3)), np.zeros(6)), 1.0)
    shown = CliRunner().invoke(app, ["show", str(folder)]).stdout
    assert f"50 meV/atom below rank 1: the ranking is not final; continue with: nucleate resume {folder} --budget 800" in shown
    assert "50 meV/atom below rank 1" in write_outputs(folder).path.joinpath("report.html").read_text(encoding="utf-8")


def test_no_polymorph_yet(make):
    result = CliRunner().invoke(app, ["show", str(make(polymorphs=False))])
    assert result.exit_code == 0
    assert "no polymorph is confirmed yet" in result.stdout


def test_a_folder_at_work_is_read_without_its_lock_and_left_as_it_was(make):
    path = make()
    with RunFolder.open(path) as folder:
        folder.ledger._db.execute("UPDATE ledger SET status='running' WHERE id=6")
        run = read_run(path)
        assert run.running
        assert run.statuses == {"ok": 5, "running": 1}
        # Reading must not take a calculation under way for an interrupted one.
        assert Counter(row.status for row in folder.ledger.rows()) == {"ok": 5, "running": 1}
    assert not read_run(path).running


def test_nothing_is_left_behind_by_reading(make):
    path = make()
    before = sorted(p.name for p in path.iterdir())
    nucleate.show(path)
    assert sorted(p.name for p in path.iterdir()) == before


def test_a_killed_run_with_its_log_unmerged(make, tmp_path):
    import shutil

    path = make()
    with RunFolder.open(path) as folder:
        folder.set_fact("hello", 1)
        # A copy taken now is what a kill leaves: the last commits stand in the write-ahead log alone.
        killed = shutil.copytree(path, tmp_path / "killed")
    assert (killed / "run.db-wal").stat().st_size > 0
    assert read_run(killed).calls == 6


def test_files(make):
    path = make(pressure=10.0)
    (path / "structures" / "09_old_-1.0000.cif").write_text("from an earlier ranking")
    (path / "structures" / "mine.txt").write_text("the user's own")
    write_outputs(path)
    names = sorted(p.name for p in (path / "structures").iterdir())
    assert names == [
        "01_Fd-3m_-5.3000.cif", "02_I4_1_amd_-5.2980.cif", "03_Pm-3m_-5.1000.cif", "all.extxyz", "mine.txt",
    ]  # fmt: skip
    diamond = ase.io.read(path / "structures" / "01_Fd-3m_-5.3000.cif")
    assert diamond.cell.lengths() == pytest.approx(5.43, abs=1e-3)
    frames = ase.io.read(path / "structures" / "all.extxyz", index=":")
    assert frames[0].info["enthalpy_per_atom"] == pytest.approx(-5.3)
    # The file's energy is the energy: the enthalpy without pV.
    assert frames[0].get_potential_energy() < 2 * -5.3
    with (path / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["space_group"] for row in rows] == ["Fd-3m", "I4_1/amd", "Pm-3m"]
    assert rows[1]["above_best (meV/atom)"] == "2.000000"


def test_which_energies_are_not_resolved(make):
    class P:
        accurate = None

        def __init__(self, energy):
            self.height = energy

    close = unresolved([P(0.0), P(0.002), P(0.0045), P(0.1)], 3.0)
    assert close == [[2], [1, 3], [2], []]
    assert [not_resolved_text(c, k + 1) for k, c in enumerate(close)] == [
        "", "not resolved from rank 1", "not resolved from rank 2", "",
    ]  # fmt: skip
