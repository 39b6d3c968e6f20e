"""What the API answers: uploads of all kinds, predictions, and its own description."""

import io
import json

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput
from nucleate.web.child import answer
from nucleate.web.jobs import MOST_ATOMS, compute
from nucleate.web.openapi import openapi
from nucleate.web.patterns import powder_pattern
from nucleate.web.refused import Refused
from nucleate.web.scenes import scene


def text_of(atoms, kind):
    if kind == "cif":
        stream = io.BytesIO()
        ase.io.write(stream, atoms, format="cif")
        return stream.getvalue()
    stream = io.StringIO()
    ase.io.write(stream, atoms, format=kind)
    return stream.getvalue().encode()


@pytest.fixture(scope="module")
def predict(server):
    (entry,) = [one for one in server.get("/api/models")[1]["models"] if one["name"] == "al.safetensors"]
    return f"/api/models/{entry['id']}/predict"


def test_a_prediction_agrees_with_the_calculator(server, predict, model):
    from nucleate.potentials.calculator import NucleateCalculator

    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.1, seed=1)
    status, answer = server.upload(predict, "al.extxyz", text_of(atoms, "extxyz"))
    assert status == 200, answer
    atoms.calc = NucleateCalculator(model)
    assert answer["prediction"]["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    assert np.allclose(answer["prediction"]["forces"], atoms.get_forces(), atol=1e-6)
    written = ase.io.read(io.StringIO(answer["prediction"]["extxyz"]), format="extxyz")
    assert np.allclose(written.get_forces(), atoms.get_forces(), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content", "status", "said"),
    [
        ("a.pkl", b"cos\nsystem\n(S'true'\ntR.", 415, "files of this type"),
        ("a.traj", b"- of Ulm", 415, "files of this type"),
        ("a.cif.gz", b"\x1f\x8b", 415, "files of this type"),
        ("../../etc/passwd", b"root", 415, "files of this type"),
        ("a.cif", bytes(range(256)) * 40, 400, ""),
        ("a.cif", b"", 400, "empty"),
    ],
)
def test_wrong_files_are_refused_in_one_line(server, name, content, status, said):
    got, answer = server.upload("/api/structures", name, content)
    assert got == status, answer
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert "/tmp" not in answer["error"]


def child(path, content, model=None):
    """The answer of the process that reads uploads, without its limits."""
    path.write_bytes(content)
    return answer({"file": str(path), "model": model, "most": MOST_ATOMS})


def test_a_structure_of_other_elements_is_refused(tmp_path, model):
    with pytest.raises(BadInput, match="Cu"):
        child(tmp_path / "cu.cif", text_of(bulk("Cu"), "cif"), str(model))


def test_too_many_atoms_are_refused_with_the_limit(tmp_path):
    with pytest.raises(BadInput, match="2048 atoms; at most 2000"):
        child(tmp_path / "big.extxyz", text_of(bulk("Al", cubic=True) * (8, 8, 8), "extxyz"))


@pytest.mark.parametrize(("name", "content"), [("a.extxyz", b"\x00\xff\xfe" * 1000), ("a.vasp", b"one line"), ("a.res", b"\x00" * 99)])
def test_garbage_is_bad_input(name, content, tmp_path):
    with pytest.raises(BadInput):
        child(tmp_path / name, content)


def test_a_huge_cell_has_no_powder_pattern(tmp_path):
    atoms = bulk("Al")
    atoms.set_cell(atoms.cell * 100)
    try:
        result = child(tmp_path / "huge.extxyz", text_of(atoms, "extxyz"))
    except BadInput:
        return
    assert result["powder"] is None
    assert "reflections" in result["powder_missing"]


def test_a_computation_ends_at_its_limit_of_memory(monkeypatch):
    monkeypatch.setattr("nucleate.web.jobs.MEMORY", 150_000_000)
    with pytest.raises(Refused, match=r"memory|limits|cannot be used"):
        compute(text_of(bulk("Al"), "cif"), ".cif")


def test_large_uploads_are_refused_stated_or_not(server):
    status, answer = server.upload("/api/structures", "a.cif", b"#" * 5_100_000)
    assert status == 413
    assert "5 MB" in answer["error"]
    pieces = (b"#" * 100_000 for _ in range(60))
    headers = {"X-Nucleate": "1", "Content-Type": "multipart/form-data; boundary=edge", "Transfer-Encoding": "chunked"}
    try:
        status, _, _ = server.send("POST", "/api/structures", pieces, headers)
    except (BrokenPipeError, ConnectionResetError):
        return  # The server has answered and closed the connection before everything was sent.
    assert status == 413


@pytest.mark.parametrize("body", ["[1]", "{", "null", '{"settings": 3}', '{"other": 1}', "[" * 5000])
def test_bodies_that_are_not_requests(server, body):
    status, _, content = server.send("POST", "/api/runs", body, {"X-Nucleate": "1", "Content-Type": "application/json"})
    assert status == 400
    assert set(json.loads(content)) == {"error"}


def test_settings_with_wrong_values_are_named(server):
    for settings, said in (({"formula": "Xx4"}, "Xx"), ({"formula": "Al4", "search": {"pool": "many"}}, "search.pool"), ({}, "formula")):
        status, answer = server.post("/api/runs", {"settings": settings})
        assert status == 400
        assert said in answer["error"]


def test_the_description_names_every_request_and_its_parameters(server):
    status, served = server.get("/api/openapi.json")
    assert status == 200
    assert served == json.loads(json.dumps(openapi()))
    assert set(served["paths"]["/api/runs"]) == {"get", "post"}
    for path, operations in served["paths"].items():
        for operation in operations.values():
            stated = {item["name"] for item in operation["parameters"] if item["in"] == "path"}
            assert all("{" + name + "}" in path for name in stated)
            assert operation["summary"].endswith(".")


def test_the_lines_of_a_powder_pattern_obey_bragg_s_law():
    pattern = powder_pattern(bulk("Al", cubic=True, a=4.05))
    first = pattern["lines"][0]
    assert first["d"] == pytest.approx(4.05 / 3**0.5, abs=1e-4)
    assert first["two_theta"] == pytest.approx(2 * np.degrees(np.arcsin(pattern["wavelength"] / 2 / first["d"])), abs=1e-3)
    top = pattern["two_theta"][int(np.argmax(pattern["intensity"]))]
    assert top == pytest.approx(first["two_theta"], abs=0.03)


def test_a_pattern_of_a_short_wavelength_ends_with_the_form_factors():
    pattern = powder_pattern(bulk("Al", cubic=True, a=4.05), "0.2")
    assert pattern["two_theta"][-1] == pytest.approx(2 * np.degrees(np.arcsin(0.4)), abs=0.03)


def test_atoms_on_faces_are_drawn_on_both():
    drawn = scene(bulk("Al", cubic=True))
    assert len(drawn["atoms"]) == 14
    assert {atom["of"] for atom in drawn["atoms"]} == {0, 1, 2, 3}
