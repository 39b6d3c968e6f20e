import json
import multiprocessing
import sqlite3

import pytest
from ase.build import bulk

from nucleate.csp.run_folder import VERSION, RunFolder
from nucleate.csp.run_settings import RunSettings
from nucleate.errors import ReferenceFailed, RunFolderError
from nucleate.persist.toml import to_toml

TOML = 'formula = "Si2"\n'


def refused(call, *arguments, says):
    with pytest.raises(RunFolderError, match=says) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    RunFolder.create(path, TOML).close()
    return path


def test_new_folder(folder):
    assert (folder / "run.toml").read_text() == TOML
    assert (folder / "models").is_dir()
    with RunFolder.open(folder) as run:
        assert run.load_state() is None
        assert run.ledger.count() == 0


def _try_to_open(path, answer):
    try:
        RunFolder.open(path).close()
        answer.put("opened")
    except RunFolderError as error:
        answer.put(str(error))


def test_second_process_is_refused_until_the_first_ends(folder):
    context = multiprocessing.get_context("fork")
    answer = context.Queue()

    def other():
        process = context.Process(target=_try_to_open, args=(folder, answer))
        process.start()
        process.join(30)
        return answer.get(timeout=5)

    with RunFolder.open(folder):
        assert "another process is working on this run" in other()
    assert other() == "opened"


def test_second_open_in_one_process_is_refused(folder):
    with RunFolder.open(folder):
        refused(RunFolder.open, folder, says="another process")


def test_newer_layout_is_refused(folder):
    with sqlite3.connect(folder / "run.db") as db:
        db.execute(f"PRAGMA user_version={VERSION + 1}")
    refused(RunFolder.open, folder, says="newer nucleate")
    # A refusal must not leave the lock behind.
    with sqlite3.connect(folder / "run.db") as db:
        db.execute(f"PRAGMA user_version={VERSION}")
    RunFolder.open(folder).close()


def test_other_settings_are_refused_and_the_same_resume(folder):
    refused(RunFolder.create, folder, 'formula = "Si4"\n', says="other settings")
    RunFolder.create(folder, TOML).close()
    assert (folder / "run.toml").read_text() == TOML


def test_a_setting_that_was_added_later_has_its_default(tmp_path):
    """A folder of an earlier version is the folder of the same command."""
    now = to_toml(RunSettings(formula="Si2"))
    earlier = "".join(line for line in now.splitlines(keepends=True) if not line.startswith(("continuation", "pool")))
    assert len(earlier.splitlines()) == len(now.splitlines()) - 2
    RunFolder.create(tmp_path / "run", earlier).close()
    RunFolder.create(tmp_path / "run", now).close()
    assert (tmp_path / "run" / "run.toml").read_text() == earlier
    other = RunSettings.model_validate({"formula": "Si2", "search": {"pool": 77}})
    refused(RunFolder.create, tmp_path / "run", to_toml(other), says="other settings")


def test_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    refused(RunFolder.create, tmp_path, TOML, says="not empty")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    refused(RunFolder.open, tmp_path, says="run.toml is missing")
    refused(RunFolder.open, tmp_path / "nowhere", says="run.toml is missing")


def test_database_that_is_none(folder):
    for extra in folder.glob("run.db-*"):
        extra.unlink()
    (folder / "run.db").write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    refused(RunFolder.open, folder, says="run.db")


def test_state_round_trip_keeps_the_last_three(folder):
    with RunFolder.open(folder) as run:
        for k in range(5):
            run.save_state(k, {"x": k / 3})
    with RunFolder.open(folder) as run:
        assert run.load_state() == (4, {"x": 4 / 3})
    with sqlite3.connect(folder / "run.db") as db:
        assert [row[0] for row in db.execute("SELECT round FROM state ORDER BY round")] == [2, 3, 4]


def test_damaged_state_is_refused_and_labels_can_still_be_read(folder):
    with RunFolder.open(folder) as run:
        run.save_state(0, {"x": 1})
        run.ledger.begin("key", bulk("Si"), "r", {}, "train", 0)
        run.ledger.finish("key", ReferenceFailed("no"), 1.0)
    with sqlite3.connect(folder / "run.db") as db:
        db.execute("UPDATE state SET data=?", (b"rubbish",))
    with RunFolder.open(folder) as run:
        refused(run.load_state, says="damaged")
        assert run.ledger.count() == 1


def test_facts(folder):
    with RunFolder.open(folder) as run:
        run.set_fact("a", {"b": [1, 2.5]})
        run.set_fact("a", [None])
        assert run.fact("a") == [None]
        assert run.fact("none", 3) == 3


def test_events_survive_a_line_cut_by_a_kill(folder):
    with RunFolder.open(folder) as run:
        run.event("one", x=1)
        with (folder / "events.jsonl").open("a") as stream:
            stream.write('{"time": 1, "ev')
        assert [event["event"] for event in run.events()] == ["one"]


def test_event_after_a_cut_line_is_not_lost(folder):
    with RunFolder.open(folder) as run:
        run.event("one")
        with (folder / "events.jsonl").open("a") as stream:
            stream.write('{"time": 1, "ev')
    with RunFolder.open(folder) as run:
        run.event("two")
        assert [event["event"] for event in run.events()] == ["one", "two"]
        assert json.loads((folder / "events.jsonl").read_text().splitlines()[-1])["event"] == "two"


def test_read_only_folder_is_refused_in_one_line(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("x")
    refused(RunFolder.create, blocked / "run", TOML, says="cannot be written")
