"""A sample of the faults of benchmarks/faults: nothing is lost, paid twice or said badly; and the harness notices what is."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).resolve().parents[2] / "benchmarks/faults"
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the harness is compiled with gcc")


def rows(script, folder, *words):
    result = folder / "result.json"
    command = [sys.executable, str(FAULTS / script / "run.py"), "--out", str(folder), "--result", str(result), *words]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr
    return json.loads(result.read_text())["rows"]


@pytest.mark.slow
def test_couplings_are_computed_through_every_fault(tmp_path):
    found = rows("runs", tmp_path, "--job", "spins couple", "--points", "1", "--runs", "1", "--kills", "2", "--seed", "5")
    assert len(found) == 11
    assert all(row["faults"] for row in found)
    assert [row["examples"] for row in found if row["wrong"]] == []


@pytest.mark.slow
def test_a_search_is_finished_through_a_kill_in_a_write(tmp_path):
    found = rows("runs", tmp_path, "--job", "search", "--fault", "kill in a write", "--points", "1", "--seed", "6")
    assert len(found) == 1
    assert found[0]["faults"]
    assert [row["examples"] for row in found if row["wrong"]] == []


@pytest.mark.slow
def test_a_search_survives_a_reference_that_misbehaves(tmp_path):
    found = rows("references", tmp_path, "--what", "NaN force", "--seeds", "1")
    assert sum(row["failed"] for row in found) > 1
    assert [row["examples"] for row in found if row["wrong"]] == []


def test_a_lost_calculation_is_noticed(tmp_path):
    """The folder of the run is emptied after each fault, as by a program that keeps nothing."""
    script = tmp_path / "forgets.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(FAULTS / 'runs')!r})\nimport children, shutil\nreal = children.command\n"
        "def forgets(words, log, invoices, **more):\n"
        "    ended = real(words, log, invoices, **more)\n"
        "    if more.get('kind') == 'kill': shutil.rmtree(more['folder'], ignore_errors=True)\n"
        "    return ended\n"
        "children.command = forgets\nimport run\nrun.main()\n"
    )
    words = ["--job", "spins couple", "--fault", "kill at a write", "--points", "2", "--seed", "1"]
    result = tmp_path / "result.json"
    command = [sys.executable, str(script), "--out", str(tmp_path), "--result", str(result), *words]
    subprocess.run(command, capture_output=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    (row,) = json.loads(result.read_text())["rows"]
    assert row["wrong"]
