"""Two searches started at once on one folder: one runs, the other is refused, and run.toml is the runner's."""

import json
import subprocess
import sys
from pathlib import Path

from nucleate.csp.run_data import read_run

SCRIPT = Path(__file__).with_name("raced_runs.py")


def test_one_of_two_searches_runs(tmp_path):
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(tmp_path), "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for k, (codes, written) in enumerate(json.loads(done.stdout)):
        assert sorted(codes.values()) == [0, 3], done.stderr
        assert codes[str(written)] == 0
        run = read_run(tmp_path / f"run{k}")
        assert run.settings.seed == written
        assert run.calls == 2
