"""No room left: one line, and the run goes on as if nothing had happened once there is room again."""

import json
import resource
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import app

pytestmark = pytest.mark.usefixtures("undrawn")


def without_room(room, *arguments):
    def limit():
        # Writing beyond a file-size limit fails as a full disk does, without needing a disk to fill.
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "nucleate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)


@pytest.mark.parametrize("room", [1_000, 120_000])
def test_a_search_without_room_stops_and_goes_on(room, tiny, finished, tmp_path):
    folder = tmp_path / "run"
    stopped = without_room(room, "search", "Cu2", "--settings", tiny, "--out", folder, "--quiet")
    assert stopped.returncode == 1, stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert "Traceback" not in stopped.stderr
    assert str(folder) in stopped.stderr
    if (folder / "run.toml").exists():
        again = CliRunner().invoke(app, ["resume", str(folder), "--quiet", "--json"])
    else:
        again = CliRunner().invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(folder), "--quiet", "--json"])
    assert again.exit_code == 0, again.output
    whole, mended = api.show(finished), json.loads(again.stdout)
    assert mended["calls"] == whole["calls"]
    assert [p["energy"] for p in mended["polymorphs"]] == [p["energy"] for p in whole["polymorphs"]]
