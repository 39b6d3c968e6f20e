"""What a run folder says is checked as it is read back: damage is one line, and the labels stay readable."""

import copy
import json
import math
import sqlite3
import zlib

import pytest
from ase.build import bulk

from nucleate.csp import saved
from nucleate.csp.run_data import read_run
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.saved import SavedState
from nucleate.errors import ReferenceFailed, RunFolderError
from nucleate.persist.checked import checked
from nucleate.reference.ledger import Ledger
from tests.csp.test_records import full_state

TOML = 'formula = "NaCl"\n'


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "run"
    with RunFolder.create(path, TOML) as run:
        run.save_state(2, full_state().as_dict())
        run.set_fact("reference", {"name": "fake", "surrogate": True, "settings": {}})
        run.event("polymorph", energy=-3.4, space_group="P1", calls=30, round=3)
        run.ledger.begin("key", bulk("NaCl", "rocksalt", 5.6), "r", {}, "train", 0)
        run.ledger.finish("key", ReferenceFailed("no"), 1.0)
    return path


def damage(folder, command, *values):
    database = sqlite3.connect(folder / "run.db")
    database.execute(command, values)
    database.commit()
    database.close()


def check_refused(folder, said):
    """By whoever reads it; and the labels are there all the same."""

    def resumed():
        with RunFolder.open(folder) as run:
            run.loop_state()
            run.reference()
            run.polymorph_events()

    for call in (resumed, lambda: read_run(folder)):
        with pytest.raises(RunFolderError, match=said) as caught:
            call()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400
    assert Ledger(folder / "run.db").count() == 1


def test_what_was_saved_is_read(folder):
    with RunFolder.open(folder) as run:
        assert json.dumps(run.loop_state().as_dict()) == json.dumps(full_state().as_dict())
        assert run.reference().name == "fake"
        assert run.polymorph_events()[0].calls == 30
    assert [event["round"] for event in read_run(folder).pending] == [3]


def test_figures_that_are_no_numbers_are_kept():
    state = full_state()
    state.records[0].calibration["force_rmse"] = math.nan
    state.polymorphs[0].sigma = math.nan
    state.ratios.append(math.inf)
    checked(SavedState, state.as_dict())


def _set(data, path, value):
    *way, last = path
    for step in way:
        data = data[step]
    data[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["round"], "two"),
        (["round"], 10**400),
        (["sigma_factor"], "large"),
        (["ratios"], [None]),
        (["top"], [1e300]),
        (["polymorphs", 0, "atoms", "cell", 0, 0], 1e9),
        (["top"], {"a": 1}),
        (["finished"], 3),
        (["proof"], []),
        (["proof", "stop"], "x" * 100_000),
        (["carried", 0, "atoms", "numbers"], [11, 999]),
        (["carried", 0, "atoms", "numbers"], [11]),
        (["carried", 0, "atoms", "cell"], [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        (["carried", 0, "atoms", "cell"], 3),
        (["carried", 0, "atoms", "positions", 0], [0.0, 0.0]),
        (["carried", 0, "atoms", "positions", 0, 1], math.nan),
        (["carried", 0, "origin"], ["\x1b[31m"]),
        (["leads", 0, "forces"], [[0.0, 0.0]]),
        (["leads", 0, "stress"], [0.0] * 5),
        (["leads", 0, "best"], 7),
        (["leads", 0, "path", 0], [[0.0], [0.0, 1.0]]),
        (["leads", 0, "status"], None),
        (["polymorphs", 0, "number"], 231),
        (["polymorphs", 0, "energy"], -math.inf),
        (["polymorphs", 0, "space_group"], "../../etc/x\x00"),
        (["polymorphs", 0, "space_group"], "P1\n"),
        (["polymorphs", 0, "x" * 5000], 1),
        (["records", 0, "stops"], {"converged": "many"}),
        (["records", 0, "surprise"], 1),
        (["polymorphs"], None),
    ],
)
def test_a_damaged_state(folder, path, value):
    data = copy.deepcopy(full_state().as_dict())
    _set(data, path, value)
    damage(folder, "UPDATE state SET data=?", zlib.compress(json.dumps(data).encode()))
    check_refused(folder, "damaged")


@pytest.mark.parametrize(
    "blob", [b"", b"rubbish", zlib.compress(b"{}")[:-3], zlib.compress(b"[" * 100_000), zlib.compress(b"\xff"), "text", 3, None]
)
def test_a_state_that_is_none(folder, blob):
    damage(folder, "UPDATE state SET data=?", blob)
    check_refused(folder, "damaged")


def test_a_state_that_swells(folder, monkeypatch):
    monkeypatch.setattr(saved, "LARGEST_STATE", 1_000_000)
    damage(folder, "UPDATE state SET data=?", zlib.compress(b" " * 2_000_000 + b"{}"))
    check_refused(folder, "larger")


def test_a_folder_of_layout_1_is_read(folder):
    """It has neither checks nor accurate energies."""
    data = full_state().as_dict()
    del data["accurate"]
    for polymorph in data["polymorphs"]:
        del polymorph["check"], polymorph["frame"], polymorph["accurate"]
    damage(folder, "UPDATE state SET data=?", zlib.compress(json.dumps(data).encode()))
    damage(folder, "PRAGMA user_version=1")
    with RunFolder.open(folder) as run:
        state = run.loop_state()
    assert {polymorph.check for polymorph in state.polymorphs} == {"unchecked"}
    assert state.accurate is None


def test_a_field_that_is_missing(folder):
    for name in full_state().as_dict():
        if name in ("accurate", "magnetic", "base", "chance", "clear", "left_out", "evolution"):  # Older folders do not have them.
            continue
        data = full_state().as_dict()
        del data[name]
        damage(folder, "UPDATE state SET data=?", zlib.compress(json.dumps(data).encode()))
        check_refused(folder, name)


@pytest.mark.parametrize(
    "value", ["{", "3", '{"name": 3, "surrogate": true}', '{"name": "x"}', '{"name": "x", "surrogate": 1, "settings": []}', b"\xff"]
)
def test_a_damaged_fact(folder, value):
    damage(folder, "UPDATE facts SET value=?", value)
    check_refused(folder, "reference")


@pytest.mark.parametrize("change", [{"energy": "low"}, {"energy": math.nan}, {"calls": -1}, {"round": "x" * 9999}, {"space_group": None}])
def test_a_damaged_event(folder, change):
    with (folder / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"event": "polymorph", "energy": -3.3, "space_group": "P1", "calls": 30, "round": 3} | change) + "\n")
    check_refused(folder, "delete that line")


def test_lines_that_are_no_events_are_passed_over(folder):
    with (folder / "events.jsonl").open("ab") as stream:
        stream.write(b'3\n["polymorph"]\n\xff\xfe\n' + b"[" * 100_000 + b"\n" + b"9" * 10_000 + b"\n")
    with RunFolder.open(folder) as run:
        run.event("later", text="a\u2028b")
        assert [event["event"] for event in run.events()] == ["polymorph", "later"]
