"""A training is listed and steered; the commands are those of `nucleate steer`."""

import os

import pytest

from nucleate.persist.files import append_line, read_lines
from nucleate.persist.locks import lock_file


@pytest.fixture
def training(server):
    path = server.folder / "fit"
    path.mkdir(parents=True, exist_ok=True)
    (path / "fit.toml").write_text("steps = 10\n")
    errors = {"energy_rmse": 0.01, "force_rmse": 0.1}
    append_line(path / "events.jsonl", {"event": "start", "model": "manybody", "training": 3, "validation": 1})
    append_line(path / "events.jsonl", {"event": "evaluation", "step": 4, "training": errors, "validation": None})
    return path


def test_a_training_is_listed_and_steered(server, training):
    (entry,) = server.get("/api/trainings")[1]["trainings"]
    assert (entry["status"], entry["step"]) == ("stopped", 4)
    url = f"/api/trainings/{entry['id']}"
    assert [one["step"] for one in server.get(url)[1]["evaluations"]] == [4]
    status, answer = server.post(f"{url}/steer", {"do": "stop"})
    assert status == 400
    assert "only a running one" in answer["error"]
    lock = lock_file(training / "lock", "busy")
    try:
        assert server.get(url)[1]["status"] == "running"
        for command, said in (
            ({"do": "lr"}, "value"),
            ({"do": "stop", "what": "x"}, "what"),
            ({"do": "run"}, "do"),
            ({"do": "lr", "value": -1}, "value"),
        ):
            status, answer = server.post(f"{url}/steer", command)
            assert status == 400
            assert said in answer["error"]
        assert server.post(f"{url}/steer", {"do": "lr", "value": 0.002})[0] == 200
        assert server.post(f"{url}/steer", {"do": "freeze", "what": "Al"})[0] == 200
    finally:
        os.close(lock)
    assert read_lines(training / "steer.jsonl") == [{"do": "lr", "value": 0.002}, {"do": "freeze", "what": "Al"}]
