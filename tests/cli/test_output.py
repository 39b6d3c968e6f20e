"""Where the output goes: readers that stop reading, text that a terminal would obey, and what a folder's settings start."""

import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from nucleate import api
from nucleate.cli.app import _one_line, app
from nucleate.errors import BadInput, RunFolderError

pytestmark = pytest.mark.usefixtures("undrawn")
run = CliRunner()
NUCLEATE = [sys.executable, "-m", "nucleate"]


def read_one_line(*arguments):
    """First line, stderr and exit code of a command whose reader then closes its end, as `head -1` does."""
    process = subprocess.Popen([*NUCLEATE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = process.stdout.readline()
    process.stdout.close()
    complaints = process.stderr.read()
    process.stderr.close()
    return first, complaints, process.wait(60)


def test_a_search_stops_as_by_hand_when_nobody_reads(tiny, tmp_path):
    out = tmp_path / "run"
    first, complaints, code = read_one_line("search", "Cu2", "--settings", tiny, "--out", out)
    assert first.startswith("searching Cu2")
    assert complaints == f"stopped; resume with: nucleate resume {out}\n"
    assert code == 141
    stopped = api.show(out)
    assert stopped["status"] == "stopped"
    again = run.invoke(app, ["resume", str(out), "--quiet"])
    assert again.exit_code == 0, again.output
    assert api.show(out)["status"] == "finished"


@pytest.mark.parametrize("options", [pytest.param([], marks=pytest.mark.slow), ["--json"]])
def test_show_ends_quietly_when_nobody_reads(options, finished):
    first, complaints, code = read_one_line("show", finished, *options)
    assert first
    assert (complaints, code) == ("", 0)


def test_nobody_reads_from_the_beginning(finished):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*NUCLEATE, "show", str(finished)], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_broken_pipe_elsewhere_is_an_error(monkeypatch):
    def broken(folder):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("nucleate.csp.run_data.read_run", broken)
    result = run.invoke(app, ["show", "x"])
    assert result.exit_code == 1
    assert result.stderr == "error: Broken pipe (NUCLEATE_DEBUG=1 shows where)\n"


@pytest.mark.parametrize(
    "error", [BadInput("x" * 9999), ValueError("y" * 9999), OSError(2, "z" * 9999, "f" * 9999), BadInput("a\x1b[31mb\x00c\nd\u202e")]
)
def test_no_message_is_long_or_obeyed(error):
    text = _one_line(error)
    assert len(text) <= 500
    assert text.isprintable()


MODULE = """
from pathlib import Path
from ase.calculators.emt import EMT
Path({marker!r}).touch()
class Calculator(EMT):
    pass
"""


@pytest.fixture
def with_a_module(tiny, tmp_path, monkeypatch):
    """A stopped run whose calculator is a module, and the file that the module makes when it is imported."""
    marker = tmp_path / "imported"
    name = f"calculator_{os.getpid()}_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    tiny.write_text(tiny.read_text().replace("ase.calculators.emt:EMT", f"{name}:Calculator"))
    out = tmp_path / "run"
    assert run.invoke(app, ["search", "Cu2", "--settings", str(tiny), "--out", str(out), "--budget", "4"]).exit_code == 0
    del sys.modules[name]
    marker.unlink()
    return out, marker, name


def test_resume_says_what_it_starts(with_a_module):
    out, _, name = with_a_module
    result = run.invoke(app, ["resume", str(out), "--budget", "5", "--quiet"])
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("this run starts: ")
    assert f"{name}:Calculator" in result.stderr
    assert result.stderr.count("\n") == 1


def test_another_user_s_settings_start_nothing_unless_trusted(with_a_module, monkeypatch):
    out, marker, name = with_a_module
    with monkeypatch.context() as patch:
        patch.setattr("os.geteuid", lambda: os.getuid() + 1)
        refused = run.invoke(app, ["resume", str(out), "--budget", "5"])
        assert refused.exit_code == 2
        assert refused.stderr.count("\n") == 1
        assert "--trust" in refused.stderr
        assert name in refused.stderr
        assert not marker.exists()
        with pytest.raises(RunFolderError, match="another user"):
            api.resume(out)
        # Looking at it starts nothing.
        assert run.invoke(app, ["show", str(out)]).exit_code == 0
        assert not marker.exists()
        trusted = run.invoke(app, ["resume", str(out), "--budget", "5", "--trust", "--quiet"])
    assert trusted.exit_code == 0, trusted.output
    assert trusted.stderr.startswith("this run starts: ")
    assert marker.exists()


def test_text_of_a_folder_is_text(finished, tmp_path):
    """Markup and escapes in whatever a folder says."""
    copy = shutil.copytree(finished, tmp_path / "[bold]x[/nothing]\x1b[31m")
    result = run.invoke(app, ["show", str(copy)])
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.output
