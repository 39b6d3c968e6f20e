"""Run folders that earlier versions have written are shown, exported, trained on and resumed; those of later versions are refused.

The archives contain searches of Cu2 on EMT that have used their budget, and `ranking.json`, which `nucleate.show` of that version printed:
layout 1 by nucleate 0.1 (commit bf64a5d), layout 2 by a version between 0.1 and 0.3 (commit 8fc7cdb).
"""

import json
import shutil
import sqlite3
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app
from nucleate.csp.run_folder import VERSION
from nucleate.export.formats import export
from nucleate.potentials.files import load_potential
from nucleate.report.html import write_report
from nucleate.training.data import read_data

ARCHIVES = Path(__file__).with_name("run_folders")


@pytest.fixture(params=[1, 2], ids=["layout1", "layout2"])
def old(request, tmp_path):
    """A copy of a run folder with an earlier layout, and what that version showed."""
    name = f"layout{request.param}"
    with tarfile.open(ARCHIVES / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / name
    ranking = json.loads((folder / "ranking.json").read_text())
    assert layout(folder) == request.param
    return folder, ranking


def layout(folder):
    with sqlite3.connect(folder / "run.db") as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


def ranking_of(data):
    return [(item["rank"], item["space_group"], item["energy"]) for item in data["polymorphs"]]


def test_it_is_shown_as_before(old):
    folder, before = old
    data = api.show(folder)
    assert before["polymorphs"]
    assert ranking_of(data) == ranking_of(before)
    assert data["calls"] == before["calls"]
    assert CliRunner().invoke(app, ["show", str(folder)]).exit_code == 0


def test_its_report_and_exports(old, tmp_path):
    folder, before = old
    page = write_report(folder).read_text(encoding="utf-8")
    assert before["polymorphs"][0]["space_group"].replace("_", "") in page.replace("<sub>", "").replace("</sub>", "").replace("_", "")
    for kind in ("res", "json", "ase-db", "ro-crate"):
        path, _ = export(folder, kind, tmp_path / kind)
        assert path.exists()


def test_its_labels_and_its_committee(old, tmp_path):
    folder, before = old
    data = read_data(folder)
    assert 0 < len(data) <= before["calls"]
    model, factor = load_potential(sorted((folder / "models").glob("*.safetensors"))[-1])
    assert model.species == (29,)
    assert factor > 0
    settings = tmp_path / "fit.toml"
    settings.write_text("steps = 4\nbatch = 4\n[options]\nmembers = 2\nradial = 4\nchannels = 4\nhidden = 8\n")
    fit = CliRunner().invoke(app, ["train", str(folder), "--settings", str(settings), "--out", str(tmp_path / "fit")])
    assert fit.exit_code == 0, fit.output


def test_it_goes_on_with_a_larger_budget(old):
    """No calculation is repeated, and the polymorphs that were found remain."""
    folder, before = old
    with sqlite3.connect(folder / "run.db") as database:
        rows = database.execute("SELECT hash, energy FROM ledger ORDER BY id").fetchall()
    result = api.resume(folder, budget=before["calls"] + 6)
    assert result.calls > before["calls"]
    with sqlite3.connect(folder / "run.db") as database:
        assert database.execute("SELECT hash, energy FROM ledger ORDER BY id").fetchall()[: len(rows)] == rows
    lowest = before["polymorphs"][0]
    assert min(polymorph.energy for polymorph in result.polymorphs) <= lowest["energy"] + 1e-9
    assert layout(folder) == VERSION


def test_a_later_layout_is_refused(old):
    folder, _ = old
    copy = shutil.copytree(folder, folder.with_name("later"))
    with sqlite3.connect(copy / "run.db") as database:
        database.execute(f"PRAGMA user_version={VERSION + 1}")
    for verb in ("show", "resume"):
        refused = CliRunner().invoke(app, [verb, str(copy)])
        assert refused.exit_code == 2
        assert refused.stderr.count("\n") == 1
        assert f"written by a newer nucleate (layout {VERSION + 1}, this one supports {VERSION}); update nucleate" in refused.stderr
    assert layout(copy) == VERSION + 1
