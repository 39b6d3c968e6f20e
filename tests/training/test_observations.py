"""What the monitor says: noise of gradients, informants, the page, the verbs of the command line."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from nucleate.cli.app import app
from nucleate.training.data import read_data
from nucleate.training.folder import read_events
from nucleate.training.observe import noise_scale

run = CliRunner()
QUICK = """
model = "a2a"
steps = 40
batch = 6
evaluate_every = 20
validation = 0.2
[options]
radial_bins = 6
radial_eta = 4.0
angular_bins = 2
angle_bins = 2
hidden = [8]
"""


@pytest.fixture(scope="module", autouse=True)
def without_figures():
    """The figures of these trainings are drawn."""


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    return path


def test_noise_scale_of_known_gradients():
    """Gradients of single structures g + n with n of variance s^2 in d dimensions: |G|^2 = |g|^2, tr S = d s^2."""
    rng = np.random.default_rng(0)
    d, size, spread = 50, 4, 0.3
    mean = rng.normal(size=d)
    found = []
    for _ in range(3000):
        halves = [torch.tensor(mean + spread * rng.normal(size=(size, d)).mean(0)) for _ in range(2)]
        found.append(noise_scale([halves[0]], [halves[1]], size))
    gradient, covariance = np.mean(found, axis=0)
    assert gradient == pytest.approx(float(mean @ mean), rel=0.02)
    assert covariance == pytest.approx(d * spread**2, rel=0.02)


def test_train_evaluate_and_the_page(salt_file, quick, tmp_path):
    out = tmp_path / "fit"
    result = run.invoke(app, ["train", str(salt_file), "--settings", str(quick), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "split by the entry 'parent'" in result.stdout
    page = (out / "monitor.html").read_text(encoding="utf-8")
    for words in (
        "Loss against step",
        "Parity of energy",
        "Parity of force",
        "gradient noise scale",
        "Share of each species",
        "networks.Na",
    ):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "")
    said = json.loads(run.invoke(app, ["evaluate", str(out), str(salt_file), "--json"]).stdout)
    assert said["structures"] == 30
    assert set(said["by_formula"]) == {item.formula for item in read_data(salt_file)}
    last = [event for event in read_events(out) if event["event"] == "evaluation"][-1]
    ends = [last[name]["energy_rmse"] for name in ("training", "validation")]
    assert min(ends) <= said["energy_rmse"] <= max(ends)
    again = run.invoke(app, ["train", str(salt_file), "--settings", str(quick), "--out", str(out)])
    assert again.exit_code == 0
    assert "step 20" not in again.stdout


def test_a_training_is_steered_from_another_process(salt_file, quick, tmp_path):
    out = tmp_path / "fit"
    # A page at each evaluation takes longer than the steps between them.
    quick.write_text(QUICK.replace("evaluate_every = 20", "evaluate_every = 5000"))
    command = [sys.executable, "-m", "nucleate", "train", str(salt_file), "--settings", str(quick), "--steps", "100000", "--out", str(out)]
    training = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        until = time.monotonic() + 120
        while not any(event["event"] == "step" for event in read_events(out)):
            assert time.monotonic() < until
            assert training.poll() is None
            time.sleep(0.05)
        assert run.invoke(app, ["steer", str(out), "--lr", "1e-4", "--freeze", "Cl"]).exit_code == 0
        assert run.invoke(app, ["steer", str(out), "--stop"]).exit_code == 0
        text, _ = training.communicate(timeout=60)
    finally:
        training.kill()
    assert training.returncode == 0, text
    commands = [event["command"]["do"] for event in read_events(out) if event["event"] == "steer"]
    assert commands == ["lr", "freeze", "stop"]
    assert (out / "model.safetensors").is_file()
    assert "stopped on request" in text


def test_learning_curve_goes_on_where_it_was(salt_file, quick, tmp_path):
    command = [
        "learning-curve",
        str(salt_file),
        "--model",
        "a2a",
        "--labels",
        "8,16",
        "--settings",
        str(quick),
        "--out",
        str(tmp_path / "lc"),
    ]
    first = run.invoke(app, [*command, "--json"])
    assert first.exit_code == 0, first.output
    rows = json.loads(first.stdout)["rows"]
    assert [row["labels"] for row in rows] == [8, 16]
    assert all(row["held_back"] == rows[0]["held_back"] for row in rows)
    more = run.invoke(app, [*command, "--model", "schnet:" + str(tmp_path / "s.toml"), "--json"])
    assert more.exit_code == 2
    again = json.loads(run.invoke(app, [*command, "--json"]).stdout)["rows"]
    assert again == rows


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["train", "DATA", "--out", "OUT", "--model", "gnn"], "model 'gnn'"),
        (["train", "gone.xyz", "--out", "OUT"], "gone.xyz: no such file"),
        (["evaluate", "gone", "DATA"], "gone: no such model file"),
        (["steer", "OUT", "--lr", "1e-4"], "fit.toml is missing"),
        (["steer", "OUT"], "no change is given"),
        (["steer", "OUT", "--lr", "nan"], "a learning rate is a positive number"),
        (["steer", "OUT", "--copy", "C"], "write FROM:TO"),
        (["learning-curve", "DATA", "--model", "a2a", "--labels", "many", "--out", "OUT"], "integers"),
        (["learning-curve", "DATA", "--model", "a2a", "--labels", "500", "--out", "OUT"], "500 labels"),
    ],
)
def test_what_a_user_can_do_wrong(command, says, salt_file, tmp_path):
    places = {"DATA": str(salt_file), "OUT": str(tmp_path / "out")}
    result = run.invoke(app, [places.get(word, word) for word in command])
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_soap_krr_is_solved_at_once(salt_file, tmp_path):
    settings = tmp_path / "t.toml"
    settings.write_text("validation = 0.2\n[options]\nradial = 4\npoints = 60\ncutoff = 4.5\n")
    out = tmp_path / "fit"
    command = ["train", str(salt_file), "--model", "soap-krr", "--settings", str(settings), "--out", str(out)]
    result = run.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "solved in closed form" in result.stdout
    assert "Parity of energy" in (out / "monitor.html").read_text(encoding="utf-8")
    found = json.loads(run.invoke(app, ["evaluate", str(out), str(salt_file), "--json"]).stdout)
    assert (found["family"], found["parameters"]) == ("soap-krr", 60)
    last = next(event for event in read_events(out) if event["event"] == "evaluation")
    ends = [last[name]["force_rmse"] for name in ("training", "validation")]
    assert min(ends) <= found["force_rmse"] <= max(ends)
    assert "closed form" not in run.invoke(app, command).stdout
