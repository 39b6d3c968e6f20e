"""No room left: one line, and the run goes on as if nothing had happened once there is room again."""

import json
import resource
import subprocess
import sys

import pytest

from nucleate import api


def nucleate(*arguments, room=None):
    def limit():
        # Writing beyond a file-size limit fails as a full disk does, without needing a disk to fill.
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    command = [sys.executable, "-m", "nucleate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit if room else None, check=False)


@pytest.mark.parametrize("room", [1_000, 120_000])
def test_a_search_without_room_stops_and_goes_on(room, tiny, finished, tmp_path):
    folder = tmp_path / "run"
    stopped = nucleate("search", "Cu2", "--settings", tiny, "--out", folder, "--quiet", room=room)
    assert stopped.returncode == 1, stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert "Traceback" not in stopped.stderr
    assert str(folder) in stopped.stderr
    if (folder / "run.toml").exists():
        again = nucleate("resume", folder, "--quiet", "--json")
    else:
        again = nucleate("search", "Cu2", "--settings", tiny, "--out", folder, "--quiet", "--json")
    assert again.returncode == 0, again.stderr
    whole, mended = api.show(finished), json.loads(again.stdout)
    assert mended["calls"] == whole["calls"]
    assert [p["energy"] for p in mended["polymorphs"]] == [p["energy"] for p in whole["polymorphs"]]
