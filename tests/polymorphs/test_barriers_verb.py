"""Barriers from end to end: the graph of two crystals on a committee of pairs, the page, JSON, paths, spot checks and refusals."""

import json
import re
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.polymorphs.barriers import calculate
from nucleate.polymorphs.barriers.settings import BarrierSettings
from nucleate.report.barriers import COLUMNS, remarks, rows_of, write_barriers_page
from tests.conftest import PairPotential
from tests.polymorphs.test_check_verb import PairReference

QUICK = BarrierSettings(atoms=4, paths=2)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("barriers") / "argon.extxyz"
    ase.io.write(path, [bulk("Ar", "fcc", a=4.2), bulk("Ar", "hcp", a=3.0, c=4.9), bulk("Ar", "fcc", a=4.25)])
    return path


@pytest.fixture
def pairs(monkeypatch):
    """A committee of pairs in place of a model file, and a reference that is the second of its members."""
    committee = PairPotential(depth=(0.28, 0.30, 0.32))
    monkeypatch.setattr(calculate, "read_committee", lambda inputs, model: (committee, "pairs"))
    made = (PairReference(), SimpleNamespace(workers=0, timeout=60.0, ledger=None))
    monkeypatch.setattr(calculate, "make_check_reference", lambda *arguments: made)


def test_barriers_of_two_crystals(file, pairs, tmp_path):
    events = []
    result = calculate.barriers(file, QUICK.model_copy(update={"spots": 1}), reference="emt", out=tmp_path / "out", progress=events.append)
    first, second = (result.minima[k].name for k in result.polymorphs)
    assert {first, second} == {"01_Fm-3m", "02_P6_3_mmc"}
    assert any("03_Fm-3m: relaxes on the committee to the same crystal as 01_Fm-3m" in line for line in result.omitted)
    forward, backward = result.barrier(0, 1), result.barrier(1, 0)
    apart = float(result.minima[1].energy.mean() - result.minima[0].energy.mean())
    assert forward.height == pytest.approx(backward.height + apart)
    # Energies are proportional to the depth of the wells, and so is the spread.
    assert forward.spread == pytest.approx(forward.height * 0.02 / 0.30, rel=1e-3)
    # The reference is the mean of the committee, so that the labels agree with it.
    (spot,) = result.spots
    np.testing.assert_allclose(spot.reference, spot.committee, atol=1e-6)
    data = json.loads((tmp_path / "out" / "barriers.json").read_text())
    (pair,) = data["pairs"]
    assert pair["forward"] == pytest.approx(1e3 * forward.height)
    assert data["minima"][0]["above_lowest"] == 0
    images = ase.io.read(data["paths"][pair["path"]]["file"], ":")
    assert len(images) == QUICK.images
    assert max(atoms.info["enthalpy_per_atom"] for atoms in images) - images[0].info["enthalpy_per_atom"] > 0.02
    (row,) = rows_of(result)
    assert len(row) == len(COLUMNS)
    assert re.fullmatch(r"\d+\.\d ± \d+\.\d", row[2])
    assert any("not the error of its reference" in line for line in remarks(result))
    text = write_barriers_page(result).read_text()
    assert text.count("<svg") >= 2
    assert "http://" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", text)
    assert {"relaxing on the committee", "mappings"} <= {getattr(event, "name", "") for event in events}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--atoms", "25"], "--atoms Input should be less than or equal to 24"),
        (["--images", "2"], "--images Input should be greater than or equal to 5"),
        (["--top", "0"], "--top 0: give a positive number"),
        (["--top", "1", "--model", "MODEL"], "has 1 polymorph"),
        ([], "name the committee with --model FILE"),
    ],
)
def test_bad_input_is_refused_in_one_line(file, monkeypatch, options, words):
    if "MODEL" in options:
        monkeypatch.setattr(calculate, "read_committee", lambda inputs, model: (PairPotential(), "pairs"))
    answer = CliRunner().invoke(app, ["barriers", str(file), "--quiet", *options])
    assert answer.exit_code == 2
    (line,) = answer.stderr.strip().splitlines()
    assert words in line


def test_crystals_of_different_compositions_are_refused(pairs, monkeypatch, tmp_path):
    path = tmp_path / "two.extxyz"
    ase.io.write(path, [bulk("Ar", "fcc", a=4.2), bulk("ArKr", "rocksalt", a=5.2)])
    committee = PairPotential(species=(18, 36))
    monkeypatch.setattr(calculate, "read_committee", lambda inputs, model: (committee, "pairs"))
    answer = CliRunner().invoke(app, ["barriers", str(path), "--quiet"])
    assert answer.exit_code == 2
    assert "have different compositions" in answer.stderr
