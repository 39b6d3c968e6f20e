"""A run folder compared with a measurement: ranking, energies above the lowest, and the page in the folder."""

import json

import numpy as np
import pytest
from ase.build import bulk
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.errors import BadInput
from nucleate.observables.pair_distribution import PairSettings, pair_distribution
from nucleate.polymorphs.match import MatchOptions, match
from nucleate.report.match import percent


@pytest.fixture
def measured(tmp_path):
    r = np.arange(0.1, 18, 0.02)
    g = pair_distribution(bulk("Si", "bct", a=4.85, c=2.68), r, PairSettings())
    path = tmp_path / "si.gr"
    path.write_text("\n".join(f"{a} {b}" for a, b in zip(r, g, strict=True)))
    return path


def test_polymorphs_of_a_run(make, measured):
    folder = make()
    result = CliRunner().invoke(app, ["match", str(folder), "--pdf", str(measured), "--energy-scale", "30", "--json"])
    assert result.exit_code == 0, result.output
    first, *others = json.loads(result.stdout)["structures"]
    assert (first["number"], first["space_group"]) == (2, "I4_1/amd")
    assert first["above_best"] == pytest.approx(2.0)
    assert first["pair_distribution"]["similarity_variable_cell"] > 0.99
    assert {structure["number"] for structure in others} == {1, 3}
    page = (folder / "match.html").read_text()
    assert "1/Å²" in page
    assert "I4<sub>1</sub>/amd" in page


def test_fewer_polymorphs_and_none(make, measured):
    found = match(make(), MatchOptions(pdf=measured, top=1))
    assert [comparison.candidate.number for comparison in found.ranking] == [1]
    assert found.ranking[0].probability == 1.0
    with pytest.raises(BadInput, match="no polymorph is confirmed yet"):
        match(make("empty", polymorphs=False), MatchOptions(pdf=measured))


@pytest.mark.parametrize(("value", "text"), [(1.0, "> 99.9 %"), (0.5, "50.0 %"), (1e-9, "< 0.1 %")])
def test_probabilities_as_text(value, text):
    assert percent(value) == text
