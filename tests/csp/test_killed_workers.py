"""A leader of two workers killed with `kill -9`: at most one call a worker is repeated, and no process is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes are left")
ROOT = Path(__file__).resolve().parents[2]


def check(folder, kills, seed, work):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), environment.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-W", "ignore", ROOT / "tests/csp/killed_workers.py", folder, str(kills), str(seed), work],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    assert result["code"] == 0, run.stderr
    assert result["calls"] >= 20
    for found in result["runs"]:
        assert found["wrong"] == []
        assert found["leftovers"] == 0
        assert max(found["lost"], default=0) <= 2
        assert found["repeated"] <= sum(found["lost"])
    assert sum(found["kills"] for found in result["runs"]) >= kills


def test_three_kills(tmp_path):
    check(tmp_path, 3, 1, "questions")


@pytest.mark.slow
@pytest.mark.parametrize("work", ["questions", "search"])
def test_hundred_kills(tmp_path, work):
    check(tmp_path, 100, 2, work)
