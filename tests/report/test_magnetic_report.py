"""Magnetic orders and moments in the terminal, the report, the table and the JSON."""

import csv

import pytest
from ase.build import bulk
from typer.testing import CliRunner

import nucleate
from nucleate.api import write_outputs
from nucleate.cli.app import app
from nucleate.csp.magnetic.records import Magnetism, OrderEnergy
from nucleate.csp.records import LoopState, Polymorph
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.persist.toml import to_toml

ORDERS = [
    OrderEnergy("FM", -8.0, None, "FM", 4.6, 2.5),
    OrderEnergy("AFM type II", -8.04, -8.05, "AFM type II", 4.5, 0.0),
    OrderEnergy("AFM type I", None, failure="SCF did not converge <b>"),
    OrderEnergy("AFM q=(1/2 0 0)", -7.9, None, "NM", 0.01, 0.0),
]


@pytest.fixture
def folder(tmp_path):
    def make(tried=True, moments=True):
        settings = settings_from_dict(
            {"formula": "Mn2O2", "reference": {"engine": "gpaw", **({"magnetic_moments": {"Mn": 5.0}} if moments else {})}}
        )
        rocksalt, other = bulk("MnO", "rocksalt", a=4.44), bulk("MnO", "cesiumchloride", a=2.7)
        found = [
            Polymorph(atoms, atoms, energy, 0.01, 0.05, symbol, number, 0.02, "symmetric", 9, 3, 1)
            for atoms, energy, symbol, number in ((rocksalt, -8.0, "Fm-3m", 225), (other, -7.5, "Pm-3m", 221))
        ]
        if moments:
            same = {"fmax": 0.01, "smax": 0.05, "space_group": "Fm-3m", "number": 225, "atoms": rocksalt, "start": rocksalt}
            changed = {"energy": -8.05, "frame": rocksalt, **same}
            found[0].set_order(Magnetism("AFM type II", 4.5, 0.0, ORDERS if tried else []), **(changed if tried else {}))
            found[1].set_order(Magnetism("FM", 4.0, 2.0))
        cost = {"calls": 12, "failed": 1, "tried": 1, "changed": 1} if tried else {"calls": 0, "failed": 0, "tried": 0, "changed": 0}
        state = LoopState(2, polymorphs=found, finished="the ranking stayed the same", magnetic=cost if moments else None)
        with RunFolder.create(tmp_path / "run", to_toml(settings)) as run:
            run.set_fact("reference", {"name": "gpaw", "surrogate": False, "settings": {}})
            run.save_state(2, state.as_dict())
        return tmp_path / "run"

    return make


def test_json(folder):
    data = nucleate.show(folder())
    first, second = data["polymorphs"]
    assert (first["magnetic_order"], first["moment"], first["net_moment"], first["energy"]) == ("AFM type II", 4.5, 0.0, -8.05)
    assert [order["above_lowest"] for order in first["magnetic_orders"]] == pytest.approx([50.0, 0.0, None, 150.0])
    assert [order["relaxed"] for order in first["magnetic_orders"]] == [False, True, False, False]
    assert first["magnetic_orders"][2]["failure"] == "SCF did not converge <b>"
    assert second["magnetic_orders"] == []
    assert data["magnetic"] == {"calls": 12, "failed": 1, "tried": 1, "changed": 1}
    assert data["warnings"] == []


def test_terminal(folder):
    shown = CliRunner().invoke(app, ["show", str(folder())]).stdout
    assert "AFM type II" in shown.splitlines()[4]
    assert "4.50" in shown.splitlines()[4]
    assert (
        "rank 1, magnetic orders in meV/atom: AFM type II +0.0; FM +50.0; AFM q=(1/2 0 0) +150.0, ended as NM; "
        "AFM type I not calculated (SCF did not converge <b>)"
    ) in shown
    assert "magnetic orders of 1 polymorph, 12 calls (1 failed); another order than that of the search is lower for 1" in shown


def test_page_and_table(folder):
    path = folder()
    page = write_outputs(path).path.joinpath("report.html").read_text(encoding="utf-8")
    assert "Magnetic order" in page
    assert "<td>AFM type II</td>" in page
    assert "relaxed in this order" in page
    assert "SCF did not converge &lt;b&gt;" in page
    assert "may be magnetic" not in page
    with (path / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["magnetic_order"] for row in rows] == ["AFM type II", "FM"]
    assert rows[0]["moment (mu_B)"] == "4.500000"
    assert rows[1]["net_moment (mu_B/atom)"] == "2.000000"


def test_without_moments_there_are_no_columns_and_a_warning(folder):
    path = folder(moments=False)
    data = nucleate.show(path)
    assert data["magnetic"] is None
    assert data["polymorphs"][0]["magnetic_order"] is None
    warning = "Mn may be magnetic, but starts without a moment; set reference.magnetic_moments"
    assert data["warnings"] == [warning]
    page = write_outputs(path).path.joinpath("report.html").read_text(encoding="utf-8")
    assert "Magnetic order" not in page
    assert f"{warning}." in page
    assert "magnetic_order" not in (path / "table.csv").read_text()
    assert warning in CliRunner().invoke(app, ["show", str(path)]).stdout
