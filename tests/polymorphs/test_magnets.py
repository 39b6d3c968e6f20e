"""Couplings of the magnets of a search, on a Heisenberg model whose couplings are known, and in the report."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.csp.loop import Search
from nucleate.csp.plan import prepare
from nucleate.csp.run_data import read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.errors import BadInput, NucleateError, ReferenceFailed
from nucleate.persist.toml import to_toml
from nucleate.polymorphs.magnets import couple_polymorphs, read_coupled
from nucleate.report.html import write_report
from nucleate.spins import api
from nucleate.spins.verbs import couple as couple_verb
from tests.csp.heisenberg import MOMENTS, Heisenberg

EXCHANGE = ((3.6, 0.02),)
SETTINGS = {
    "formula": "Cu2",
    "seed": 3,
    "reference": {"magnetic_moments": MOMENTS, "workers": 0},
    "search": {
        "pool": 24, "keep": 6, "first_batch": 6, "batch": 3, "max_rounds": 1, "leads": 2, "lead_steps": 5,
        "fmax": 0.05, "smax": 0.5, "lead_fmax": 3.0, "check": False, "proof": False, "budget": 150,
    },
    "generate": {"workers": 1, "symmetric_share": 0.5, "space_groups": [166, 194, 225]},
    "model": {"cutoff": 4.0, "radial": 5, "channels": 6, "hidden": 8, "members": 2},
    "training": {"steps": 40, "warm_steps": 20, "batch_structures": 6},
    "relax": {"max_steps": 40, "patience": 10, "workers": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A finished search whose lowest polymorph is antiferromagnetic."""
    folder = tmp_path_factory.mktemp("magnets") / "run"
    with RunFolder.create(folder, to_toml(settings_from_dict(SETTINGS))) as run:
        Search(run, prepare(settings_from_dict(SETTINGS), Heisenberg(EXCHANGE))).run()
    return folder


@pytest.fixture
def toy(monkeypatch):
    """The model as the reference of the spin states."""
    made = Heisenberg(EXCHANGE)
    monkeypatch.setattr(couple_verb, "make_reference", lambda settings: made)
    return made


def test_couplings_of_the_lowest_polymorph_are_those_of_the_model(searched, toy):
    (found,) = couple_polymorphs(searched, top=1, method="collinear", cutoff=4.0, workers=0)
    lowest = read_run(searched).state.ranking()[0]
    assert found.rank == 1
    assert found.order == lowest.magnetic.order
    assert found.order.startswith("AFM")
    # Pairs are counted once, and antiferromagnetic couplings are negative.
    expected = -20.0 * np.exp(-(((found.couplings.distances - 3.6) / Heisenberg.WIDTH) ** 2))
    # Images of the pairs beyond the cutoff add up to 0.07 meV.
    assert found.couplings.isotropic == pytest.approx(expected, abs=0.1)
    assert np.abs(expected).max() > 5
    assert found.estimate["mean_field"] > 0
    # A second time nothing is calculated, and the report shows the couplings of this polymorph.
    calls = toy.calls
    couple_polymorphs(searched, top=1, method="collinear", cutoff=4.0, workers=0)
    assert toy.calls == calls
    (again,) = read_coupled(read_run(searched))
    assert again.couplings.isotropic == pytest.approx(found.couplings.isotropic)
    page = write_report(searched).read_text()
    assert "Exchange couplings" in page
    assert f"{found.estimate['mean_field']:.0f}" in page


def test_the_verb(searched, toy):
    def run(*words):
        return CliRunner().invoke(app, ["spins", "couple", *map(str, words)])

    ended = run(searched, "--top", 1, "--method", "collinear", "--cutoff", 4, "--workers", 0, "--json")
    assert ended.exit_code == 0, ended.output
    (told,) = json.loads(ended.stdout)["polymorphs"]
    assert told["rank"] == 1
    assert told["shells"][0]["J"] < 0
    assert not told["without_cutoff"]
    plain = run(searched, "--top", 1, "--method", "collinear", "--cutoff", 4, "--workers", 0)
    assert "mean field" in plain.output
    for words, message in (
        ((searched, "--out", "x", "--moment", "Cu=2"), "--out and --moment: a run folder has its own"),
        ((searched, "--top", 0), "top 0: give a positive number"),
        ((searched.parent,), "not a run folder"),
        (("fe.cif", "--top", 1, "--out", "x", "--moment", "Fe=2"), "--top selects polymorphs of a run folder"),
        (("fe.cif",), "fe.cif: a structure file requires --out and --moment"),
    ):
        refused = run(*words)
        assert refused.exit_code == 2, refused.output
        assert message in " ".join(refused.output.split())


def test_failures_are_named_and_without_any_result_the_command_fails(searched, monkeypatch):
    def fails(*args, **options):
        raise ReferenceFailed("state: the moment vanishes", kind="state")

    monkeypatch.setattr(api, "couple", fails)
    told = []
    with pytest.raises(NucleateError, match=r"no polymorph of .* has couplings; .*the moment vanishes"):
        couple_polymorphs(searched, method="collinear", failed=told.append)
    assert len(told) >= 1


def test_damaged_and_foreign_couplings_are_not_shown(searched, toy):
    couple_polymorphs(searched, top=1, method="collinear", cutoff=4.0, workers=0)
    (path,) = (searched / "couplings").glob("*/summary.json")
    summary = json.loads(path.read_text())
    for text in ("{", json.dumps({**summary, "atoms": {}}), json.dumps({"atoms": summary["atoms"]})):
        path.write_text(text)
        assert read_coupled(read_run(searched)) == []
    write_report(searched)


def test_a_search_without_moments_has_no_magnets(tmp_path):
    given = {**SETTINGS, "reference": {"workers": 0}}
    with RunFolder.create(tmp_path / "run", to_toml(settings_from_dict(given))):
        pass
    with pytest.raises(BadInput, match="the search has no magnetic moments"):
        couple_polymorphs(tmp_path / "run")
