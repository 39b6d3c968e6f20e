"""Result files of benchmarks: rows are kept, runs described, and the tables on the results pages are those of the files."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nucleate.benchmark.result_file import ResultFile, read_result, run_line
from nucleate.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "benchmarks").glob("*/*/result.json"))


def test_a_later_run_adds_the_rows_that_are_missing(tmp_path):
    path = tmp_path / "result.json"
    first = ResultFile(path, {"size": 8})
    first.add(seed=0, calls=31)
    first.add(seed=1, calls=float("nan"))
    second = ResultFile(path, {"size": 8})
    assert second.find(seed=0) == {"run": 0, "seed": 0, "calls": 31}
    assert second.find(seed=1)["calls"] is None
    assert second.find(seed=2) is None
    second.add(seed=2, calls=40)
    data = read_result(path)
    assert [row["run"] for row in data["rows"]] == [0, 0, 1]
    assert len(data["runs"]) == 2
    assert {"nucleate", "torch"} <= set(data["runs"][0]["versions"])
    assert data["runs"][1]["date"] in run_line(data)
    # One line for each row: a new seed changes one line of the file.
    assert sum('"seed"' in line for line in path.read_text().splitlines()) == 3


def test_other_settings_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "result.json"
    ResultFile(path, {"size": 8}).add(seed=0)
    with pytest.raises(BadInput, match="another size"):
        ResultFile(path, {"size": 9})
    for text in ("", "{", "[]", "3", json.dumps({"schema": 9, "settings": {}, "runs": [], "rows": []})):
        path.write_text(text)
        with pytest.raises(BadInput, match="not a result file"):
            ResultFile(path, {"size": 8})


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:-1]))
def test_result_files_of_the_repository(path):
    assert path.stat().st_size < 100_000
    data = read_result(path)
    assert data["rows"]
    assert all(0 <= row["run"] < len(data["runs"]) for row in data["rows"])


def test_tables_are_those_of_the_result_files():
    checked = subprocess.run(
        [sys.executable, ROOT / "benchmarks/tables.py", "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
