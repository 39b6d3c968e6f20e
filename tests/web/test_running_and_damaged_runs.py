"""The phase of a running search, and run folders that cannot be read as they are."""

import json
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")

from jinja2 import TemplateError

from nucleate import api
from nucleate.csp import phase_file
from nucleate.csp.phase_file import PhaseFile, read_phase
from nucleate.errors import RunFolderError
from nucleate.progress import Note, Step
from nucleate.web import endpoints, runs
from nucleate.web.bodies import Nothing
from nucleate.web.refused import status_of
from nucleate.web.runs import Runs, readable
from nucleate.web.searches import Searches


def test_the_phase_is_written_once_a_second_and_removed(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(phase_file.time, "monotonic", lambda: now)
    phase = PhaseFile(tmp_path)
    assert read_phase(tmp_path) is None
    phase(Note("no step"))
    assert read_phase(tmp_path) is None
    phase(Step("relaxing", 1, 9))
    assert read_phase(tmp_path) == {"phase": "relaxing", "done": 1, "total": 9}
    now = 0.5
    phase(Step("training the committee", 2, 9))
    assert read_phase(tmp_path)["phase"] == "relaxing"
    now = 1.1
    phase(Step("training the committee", 3, 9))
    assert read_phase(tmp_path) == {"phase": "training the committee", "done": 3, "total": 9}
    phase.remove()
    assert list(tmp_path.iterdir()) == []
    phase.remove()


def test_a_phase_that_cannot_be_written_does_not_stop_the_search(tmp_path):
    PhaseFile(tmp_path / "missing")(Step("relaxing", 1, 9))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"phase": 1}', '{"phase": "x", "done": -1, "total": 2}', "[" * 100_000])
def test_a_damaged_phase_is_none(text, tmp_path):
    (tmp_path / phase_file.NAME).write_text(text)
    assert read_phase(tmp_path) is None


@pytest.mark.parametrize("error", [TemplateError("no such\nfilter"), KeyError("energy"), ValueError("x"), OSError(5, "gone")])
def test_an_error_of_the_page_is_one_line(error, tmp_path, monkeypatch):
    run = SimpleNamespace(path=tmp_path / "Si8")
    hub = SimpleNamespace(run=lambda key: run.path, runs=SimpleNamespace(read=lambda path: run))

    def fails(*arguments):
        raise error

    monkeypatch.setattr(endpoints, "landscape_map", fails)
    with pytest.raises(RunFolderError, match="Si8: the folder is damaged or is being written; load it again") as caught:
        endpoints.report(hub, {"run": "x"}, Nothing())
    assert "\n" not in str(caught.value)
    assert status_of(caught.value) == 409
    # The page that a search writes now and then does not end it.
    api._try(lambda: fails())


def test_a_reader_that_finds_half_a_folder_says_so(tmp_path, monkeypatch):
    (tmp_path / "run.toml").write_text('formula = "Si8"\n')

    def fails(path):
        raise json.JSONDecodeError("cut off", "{", 1)

    monkeypatch.setattr(runs, "read_run", fails)
    searches = Searches()
    try:
        with pytest.raises(RunFolderError, match="load it again"):
            Runs(searches).show(tmp_path)
        assert Runs(searches).summary(tmp_path)["status"] == "damaged"
    finally:
        searches.close()


def test_other_errors_keep_their_messages(tmp_path):
    with pytest.raises(RunFolderError, match="a message"), readable(tmp_path):
        raise RunFolderError("a message")
