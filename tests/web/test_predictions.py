"""Electron and coupling models behind the API: the numbers are those of the Python functions, and what does not fit is one line."""

import io

import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.io.cube import read_cube_data
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.electrons import api as electrons
from nucleate.errors import BadInput
from nucleate.spins import api as spins
from nucleate.web.child import answer
from nucleate.web.jobs import MOST_ATOMS
from nucleate.web.openapi import openapi
from nucleate.web.predictions import reduced


def text_of(atoms):
    stream = io.StringIO()
    ase.io.write(stream, atoms, format="extxyz")
    return stream.getvalue().encode()


@pytest.fixture
def aluminium():
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.fixture(scope="module")
def ids(server):
    return {one["kind"]: one["id"] for one in server.get("/api/models")[1]["models"]}


def child(path, atoms, model, kind, **options):
    """The answer of the process that reads uploads, without its limits."""
    path.write_bytes(text_of(atoms))
    return answer({"file": str(path), "model": str(model), "kind": kind, "options": options, "most": MOST_ATOMS})


def test_electrons_agree_with_the_python_function(server, ids, electron_model, aluminium, tmp_path):
    url = f"/api/models/{ids['electrons']}/electrons"
    status, found = server.upload(f"{url}?temperature=1500&forces=true", "al.extxyz", text_of(aluminium))
    assert status == 200, found
    got, wanted = found["prediction"], electrons.predict(electron_model, aluminium, temperature=1500, forces=True)
    assert found["kind"] == "electrons"
    assert got["terms"]["free"] == pytest.approx(float(wanted.terms.free), abs=1e-4)
    assert np.allclose(got["forces"], wanted.forces, atol=1e-4)
    assert got["dos"]["values"] == pytest.approx(wanted.levels.dos.tolist(), abs=1e-6)
    assert got["cube_grid"] == got["grid"] == list(wanted.density.shape)
    (tmp_path / "d.cube").write_text(got["cube"])
    density, atoms = read_cube_data(tmp_path / "d.cube")
    assert atoms.get_chemical_symbols() == aluminium.get_chemical_symbols()
    assert np.allclose(density / ase.units.Bohr**3, wanted.density, rtol=1e-5)
    for query, said in (
        ("temperature=-3", "temperature"),
        ("temperature=1e9", "temperature"),
        ("model=/etc/passwd", "model"),
        ("spacing=0.01", ""),
    ):
        status, refused = server.upload(f"{url}?{query}", "al.extxyz", text_of(aluminium))
        assert status == 400
        assert said in refused["error"]


def test_couplings_agree_with_the_python_function(server, ids, coupling_model, iron):
    status, found = server.upload(f"/api/models/{ids['couplings']}/couplings?cutoff=4.5", "fe.cif", iron.read_bytes())
    assert status == 200, found
    pairs, wanted = found["prediction"]["pairs"], spins.predict_crystal(coupling_model, iron, cutoff=4.5)
    assert [pair["J"] for pair in pairs] == pytest.approx(wanted.couplings.tolist(), abs=1e-6)
    assert [pair["count"] for pair in pairs] == [8, 6, 12]
    assert found["prediction"]["longest"] == pytest.approx(6.0)


def test_a_model_of_another_kind_is_refused_by_name(server, ids, iron):
    for own, verb in (("potential", "electrons"), ("electrons", "predict"), ("couplings", "electrons"), ("potential", "couplings")):
        status, refused = server.upload(f"/api/models/{ids[own]}/{verb}", "fe.cif", iron.read_bytes())
        assert status == 400
        assert "choose another model" in refused["error"]
        assert "/" not in refused["error"]
    assert server.upload("/api/models/abc/electrons", "fe.cif", iron.read_bytes())[0] == 404


def test_elements_that_a_model_does_not_know(tmp_path, electron_model, coupling_model):
    with pytest.raises(BadInput, match="Cu: not in the training data of the model"):
        child(tmp_path / "cu.extxyz", bulk("Cu"), electron_model / "model.safetensors", "electrons")
    with pytest.raises(BadInput, match="Cu: no atom is of an element with couplings"):
        child(tmp_path / "cu.extxyz", bulk("Cu"), coupling_model, "couplings")


def test_limits_of_a_prediction(tmp_path, electron_model, coupling_model):
    with pytest.raises(BadInput, match=r"grid of \d+ points; at most"):
        child(tmp_path / "al.extxyz", bulk("Al", cubic=True) * (7, 7, 7), electron_model / "model.safetensors", "electrons")
    with pytest.raises(BadInput, match="give a smaller cutoff"):
        child(tmp_path / "fe.extxyz", bulk("Fe", cubic=True) * (8, 8, 8), coupling_model, "couplings", cutoff=12.0)


def test_a_coarser_density_has_the_same_integral_and_waves():
    x, y, z = np.meshgrid(*[np.arange(n) / n for n in (40, 30, 20)], indexing="ij")
    density = 2 + np.cos(2 * np.pi * x) + 0.5 * np.sin(2 * np.pi * (y - 2 * z))
    small = reduced(density, 4000)
    assert small.size <= 4000
    x, y, z = np.meshgrid(*[np.arange(n) / n for n in small.shape], indexing="ij")
    assert np.allclose(small, 2 + np.cos(2 * np.pi * x) + 0.5 * np.sin(2 * np.pi * (y - 2 * z)))
    assert reduced(density) is density


def test_the_description_states_the_options_of_uploads():
    operation = openapi()["paths"]["/api/models/{model}/electrons"]["post"]
    assert {item["name"] for item in operation["parameters"] if item["in"] == "query"} == {"temperature", "forces"}
    assert "multipart/form-data" in operation["requestBody"]["content"]


def test_damaged_models_are_refused_at_the_start(tmp_path, electron_model, coupling_model):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((electron_model / "model.safetensors").read_bytes()[:200])
    for path in (broken, cut):
        result = CliRunner().invoke(app, ["serve", str(path), "--no-browser"])
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
