import json

import numpy as np
import pytest

from nucleate.api import write_outputs
from nucleate.csp.run_data import read_run
from nucleate.polymorphs.landscape_map import landscape_map, principal_components, write_chemiscope
from nucleate.report.map_figure import map_figure


def test_principal_components_of_a_plane():
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(40, 2)) * [3, 1]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    scores, shares = principal_components(plane @ turn + 5)
    distance = np.linalg.norm(scores[:, None] - scores[None], axis=2)
    assert distance == pytest.approx(np.linalg.norm(plane[:, None] - plane[None], axis=2))
    assert shares.sum() == pytest.approx(1)
    assert shares[0] > shares[1]
    assert (scores.max(0) >= -scores.min(0)).all()


def test_few_directions_leave_zeros():
    scores, shares = principal_components(np.zeros((3, 1)))
    assert scores.tolist() == np.zeros((3, 2)).tolist()
    assert shares.tolist() == [0, 0]


def test_map_of_a_run(make):
    run = read_run(make())
    data = landscape_map(run)
    # Three polymorphs; the labels within 0.5 eV/atom are those of the five calculations that did not fail.
    assert len(data.structures) == 3 + 5
    assert data.energies[:3] == pytest.approx([0, 0.002, 0.2])
    assert len(data.families) == 3
    # The labelled cell of diamond with 5.4 Å is next to the polymorph of 5.43 Å.
    distance = np.linalg.norm(data.coordinates[3:] - data.coordinates[0], axis=1)
    assert data.structures[3 + int(distance.argmin())].get_volume() == pytest.approx(5.4**3 / 4)


def test_points_of_polymorphs_are_links(make):
    _, svg = map_figure(landscape_map(read_run(make())))
    assert all(f'xlink:href="#polymorph-{rank}"' in svg for rank in (1, 2, 3))


def test_no_polymorph_no_map(make):
    run = read_run(make(polymorphs=False))
    assert landscape_map(run) is None
    write_outputs(run.path)
    assert not (run.path / "map.json").exists()
    assert (run.path / "report.html").exists()


def test_the_map_is_computed_once_for_all_files(make, monkeypatch):
    path = make()
    calls = []
    monkeypatch.setattr("nucleate.api.landscape_map", lambda run: calls.append(run) or landscape_map(run))
    monkeypatch.setattr("nucleate.report.html.landscape_map", lambda run: calls.append(run))
    write_outputs(path)
    assert len(calls) == 1
    assert (path / "map.json").exists()
    assert "polymorph-1" in (path / "report.html").read_text(encoding="utf-8")


def test_file_of_chemiscope(make, tmp_path):
    run = read_run(make())
    write_chemiscope(run, landscape_map(run), tmp_path / "map.json")
    data = json.loads((tmp_path / "map.json").read_text())
    n = len(data["structures"])
    assert set(data) == {"meta", "structures", "properties", "settings"}
    assert all(p["target"] == "structure" and len(p["values"]) == n for p in data["properties"].values())
    for structure in data["structures"]:
        assert all(len(structure[key]) == structure["size"] for key in ("names", "x", "y", "z"))
        assert len(structure["cell"]) == 9
    shown = data["settings"]["map"]
    assert {shown["x"]["property"], shown["y"]["property"], shown["color"]["property"], shown["symbol"]} <= set(data["properties"])
