"""Rankings of several searches side by side."""

import json

import pytest

from nucleate import api
from nucleate.errors import BadInput
from nucleate.polymorphs.side_by_side import side_by_side

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {
    "search": {"pool": 16, "keep": 8, "first_batch": 5, "max_rounds": 3, "quiet_rounds": 1, "budget": 40, "proof": False, "check": False},
    "model": {"channels": 4, "hidden": 8, "members": 2},
    "training": {"steps": 40, "warm_steps": 20},
    "relax": {"max_steps": 30, "workers": 1},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    emt = {**SMALL, "reference": {"engine": "ase", "calculator": "ase.calculators.emt:EMT", "workers": 0}}
    api.search("Al", settings=SMALL, reference="chgnet", seed=1, out=folder / "one")
    api.search("Al", settings=emt, seed=1, out=folder / "two")
    # Its composition is all that counts.
    api.search("Cu", settings={**emt, "search": {**SMALL["search"], "pool": 4, "budget": 3}}, out=folder / "other")
    return folder


def test_polymorphs_are_matched_across_references(runs):
    data = side_by_side([runs / "one", runs / "two"])
    json.dumps(data, allow_nan=False)
    assert [run["reference"] for run in data["runs"]] == ["chgnet", "ase:ase.calculators.emt:EMT"]
    first = data["polymorphs"][0]
    # Both have fcc aluminium.
    assert first["space_group"] == "Fm-3m"
    assert first["above"][0] == 0.0
    assert first["ranks"][1] is not None
    for column, name in enumerate(("one", "two")):
        ranks = [row["ranks"][column] for row in data["polymorphs"] if row["ranks"][column] is not None]
        assert sorted(ranks) == [p["rank"] for p in api.show(runs / name)["polymorphs"]]
        above = [p["above_best"] for p in api.show(runs / name)["polymorphs"]]
        mine = sorted(row["above"][column] for row in data["polymorphs"] if row["above"][column] is not None)
        assert mine == pytest.approx(sorted(above))


def test_other_compounds_are_refused(runs):
    with pytest.raises(BadInput, match=r"other: is a search of Cu, but .*one is one of Al; show searches of one compound"):
        side_by_side([runs / "one", runs / "other"])
