"""A search killed with `kill -9` at random moments and resumed: nothing lost, nothing paid twice, the same end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")


def killed_runs(folder, kills, seed, budget=80, *system):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), str(kills), str(seed), str(budget), *system],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["code"] == 0, run.stderr
    return result


def check(result, kills):
    whole = result["whole"]
    # The search must be one worth killing.
    assert whole["polymorphs"]
    assert whole["proof"] is not None
    assert {row[2] for row in whole["ledger"]} >= {"train", "explore", "confirm"}
    assert sum(run["kills"] for run in result["killed"]) >= kills
    for run in result["killed"]:
        assert run["wrong"] == []
        # Only a call in flight may be paid again: at most one a kill.
        assert run["repeated"] <= run["kills"]
    for run in result["killed"]:
        for name, value in whole.items():
            assert run[name] == value, f"{name} differs after {run['kills']} kills"


def test_two_kills(tmp_path):
    result = killed_runs(tmp_path, 2, seed=1)
    check(result, 2)
    assert "proof" in {row[2] for row in result["whole"]["ledger"]}


@pytest.mark.slow
def test_kills_of_the_search_of_a_system(tmp_path):
    """The hulls of a round are those of its own labels, also after a kill, when the ledger has later ones."""
    result = killed_runs(tmp_path, 2, 5, 120, "Cu-Au")
    check(result, 2)
    assert {tuple(sorted(set(p["atoms"]["numbers"]))) for p in result["whole"]["polymorphs"]} >= {(29,), (79,)}


@pytest.mark.slow
def test_kills_of_a_search_of_molecules(tmp_path):
    pytest.importorskip("gfnff")
    result = killed_runs(tmp_path, 3, 6, 80, "molecules")
    check(result, 3)
    assert "molecule" in {row[2] for row in result["whole"]["ledger"]}
    assert {len(p["atoms"]["numbers"]) for p in result["whole"]["polymorphs"]} == {4}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["layers", "clusters"])
def test_kills_of_a_search_in_vacuum(tmp_path, kind):
    result = killed_runs(tmp_path, 3, 7, 80, kind)
    check(result, 3)
    assert {p["atoms"]["periodic"] for p in result["whole"]["polymorphs"]} == {2 if kind == "layers" else 0}


@pytest.mark.slow
def test_thirty_kills(tmp_path):
    check(killed_runs(tmp_path, 30, seed=2), 30)


@pytest.mark.slow
def test_kills_of_a_search_that_runs_out_of_budget(tmp_path):
    """What is already paid must not count twice against the budget either."""
    result = killed_runs(tmp_path, 12, seed=3, budget=20)
    assert "budget" in result["whole"]["finished"]
    assert len(result["whole"]["ledger"]) == 20
    check(result, 12)
