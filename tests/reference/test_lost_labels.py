"""An answer that the database cannot take is kept, and taken up later; damaged rows and files are named, not followed."""

import json
import sqlite3
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from nucleate.errors import ReferenceFailed, RunFolderError, StorageFailed
from nucleate.reference import Dispatcher, Label, Ledger
from nucleate.reference import ledger as ledger_module
from nucleate.reference.ledger import read_labels
from tests.reference.fakes import Paid
from tests.reference.test_ledger_and_dispatch import copper


@pytest.fixture(autouse=True)
def impatient(monkeypatch, tmp_path):
    monkeypatch.setattr(ledger_module, "PATIENCE", (0.01,))
    # Kept files of a full disk go to the temporary folder: one of the test's own.
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


def impatient_ledger(path):
    ledger = Ledger(path)
    ledger._db.execute("PRAGMA busy_timeout=20")
    return ledger


@contextmanager
def locked(path):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def paid(folder):
    return (folder / "paid").read_text().count("begun")


class Locks(Paid):
    """Another program takes the database while this one computes."""

    def __init__(self, invoices, path, stack):
        super().__init__(invoices, seconds=0.01)
        self.path, self.stack = path, stack

    def label(self, atoms):
        answer = super().label(atoms)
        if self.stack is not None:
            self.stack.append(locked(self.path))
            self.stack[-1].__enter__()
        return answer


def lose_one(folder, reference=Locks):
    """A run that stops because its answer could not be recorded; returns the file that holds it."""
    stack = []
    dispatcher = Dispatcher(reference(folder / "paid", folder / "run.db", stack), impatient_ledger(folder / "run.db"))
    with pytest.raises(StorageFailed, match="kept in"):
        dispatcher.label_many([copper(0.01), copper(0.02)], "train", 0)
    stack.pop().__exit__(None, None, None)
    (kept,) = (folder / "run.db-kept").glob("*.json")
    return kept


def resume(folder):
    with Dispatcher(Paid(folder / "paid", seconds=0.01), Ledger(folder / "run.db")) as dispatcher:
        return dispatcher.label_many([copper(0.01), copper(0.02)], "train", 0)


def test_a_locked_database_does_not_cost_the_label(tmp_path):
    kept = lose_one(tmp_path)
    assert paid(tmp_path) == 1
    answers = resume(tmp_path)
    # The first was not paid again.
    assert paid(tmp_path) == 2
    assert all(isinstance(answer, Label) for answer in answers)
    fresh = Paid(tmp_path / "other", seconds=0.01).label(copper(0.01))
    assert answers[0].energy == fresh.energy
    np.testing.assert_array_equal(answers[0].forces, fresh.forces)
    np.testing.assert_array_equal(answers[0].stress, fresh.stress)
    assert not kept.exists()
    assert not kept.parent.exists()


def test_a_database_that_is_free_again_takes_the_answer_at_the_next_try(tmp_path, monkeypatch):
    stack = []
    monkeypatch.setattr(ledger_module, "PATIENCE", (0.01, 0.01, 0.01))
    # The ledger's clock alone: other threads may be sleeping.
    clock = SimpleNamespace(time=time.time, sleep=lambda seconds: stack and stack.pop().__exit__(None, None, None))
    monkeypatch.setattr(ledger_module, "time", clock)
    ledger = impatient_ledger(tmp_path / "run.db")
    key = "a" * 64
    ledger.begin(key, copper(), "paid", {}, "train", 0)
    stack.append(locked(tmp_path / "run.db"))
    stack[0].__enter__()
    ledger.keep(key, Label(-1.0, np.zeros((4, 3)), np.zeros(6)), 1.0)
    assert [row.status for row in ledger.rows()] == ["ok"]
    assert not (tmp_path / "run.db-kept").exists()


def test_a_full_disk_does_not_cost_the_label(tmp_path):
    """SQLite's own limit of pages is a disk with no room for the label."""
    ledger = impatient_ledger(tmp_path / "run.db")
    key = "b" * 64
    ledger.begin(key, copper(), "paid", {}, "train", 0)
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count={pages}")
    label = Label(-1.0, np.zeros((4, 3)), np.zeros(6), details={"words": "long " * 10_000, "odd": "\udcff", "nan": float("nan")})
    with pytest.raises(StorageFailed, match="kept in"):
        ledger.keep(key, label, 1.0)
    ledger._db.close()
    (row,) = Ledger(tmp_path / "run.db").rows()
    assert row.label.energy == -1.0
    assert row.label.details["words"] == label.details["words"]
    assert row.label.details["odd"] == "\udcff"
    assert row.wall_seconds == 1.0


def test_a_failure_is_kept_as_well(tmp_path):
    ledger = impatient_ledger(tmp_path / "run.db")
    key = "c" * 64
    ledger.begin(key, copper(), "paid", {}, "train", 0)
    with locked(tmp_path / "run.db"), pytest.raises(StorageFailed):
        ledger.keep(key, ReferenceFailed("no convergence", kind="unconverged"), 1.0)
    (row,) = Ledger(tmp_path / "run.db").rows()
    assert (row.status, row.reason) == ("unconverged", "no convergence")


def test_the_temporary_folder_is_the_second_choice(tmp_path):
    (tmp_path / "run.db-kept").write_text("in the way")
    ledger = impatient_ledger(tmp_path / "run.db")
    key = "d" * 64
    ledger.begin(key, copper(), "paid", {}, "train", 0)
    with locked(tmp_path / "run.db"), pytest.raises(StorageFailed, match="temporary"):
        ledger.keep(key, Label(-1.0, np.zeros((4, 3)), np.zeros(6)), 1.0)
    assert [row.status for row in Ledger(tmp_path / "run.db").rows()] == ["ok"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_no_room_anywhere_is_said(tmp_path, monkeypatch):
    (tmp_path / "run.db-kept").write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    ledger = impatient_ledger(tmp_path / "run.db")
    ledger.begin("e" * 64, copper(), "paid", {}, "train", 0)
    with locked(tmp_path / "run.db"), pytest.raises(StorageFailed, match="could not be saved"):
        ledger.keep("e" * 64, Label(-1.0, np.zeros((4, 3)), np.zeros(6)), 1.0)
    assert [row.status for row in Ledger(tmp_path / "run.db").rows()] == ["interrupted"]


@pytest.mark.parametrize("interrupted", ["finish", "sleep"])
def test_an_interrupt_while_the_answer_waits_does_not_cost_it(tmp_path, monkeypatch, interrupted):
    def interrupt(*unused):
        raise KeyboardInterrupt

    ledger = impatient_ledger(tmp_path / "run.db")
    key = "f" * 64
    ledger.begin(key, copper(), "paid", {}, "train", 0)
    clock = SimpleNamespace(time=time.time, sleep=interrupt)
    monkeypatch.setattr(*((ledger, "finish", interrupt) if interrupted == "finish" else (ledger_module, "time", clock)))
    with locked(tmp_path / "run.db"), pytest.raises(KeyboardInterrupt):
        ledger.keep(key, Label(-1.0, np.zeros((4, 3)), np.zeros(6)), 1.0)
    assert [row.status for row in Ledger(tmp_path / "run.db").rows()] == ["ok"]


def cut(kept):
    kept.write_bytes(kept.read_bytes()[:-40])


def of_another_crystal(kept):
    content = json.loads(kept.read_text())
    content["forces"] = content["forces"][:3]
    kept.write_text(json.dumps(content))


def not_finite(kept):
    content = json.loads(kept.read_text())
    content["energy"] = float("nan")
    kept.write_text(json.dumps(content))


def ragged(kept):
    content = json.loads(kept.read_text())
    content["stress"] = content["stress"][:4]
    kept.write_text(json.dumps(content))


def nested(kept):
    kept.write_text("[" * 100_000)


def binary(kept):
    kept.write_bytes(b"\xff\xfe\x00" * 100)


def a_folder(kept):
    kept.unlink()
    kept.mkdir()


@pytest.mark.parametrize("damage", [cut, of_another_crystal, not_finite, ragged, nested, binary, a_folder])
def test_a_damaged_kept_file_is_passed_over_and_the_call_repeated(tmp_path, damage):
    damage(lose_one(tmp_path))
    assert all(isinstance(answer, Label) for answer in resume(tmp_path))
    assert paid(tmp_path) == 3


def test_a_kept_answer_never_replaces_one_that_is_recorded(tmp_path):
    kept = lose_one(tmp_path)
    content = kept.read_text()
    before = resume(tmp_path)[0].energy
    kept.parent.mkdir()
    kept.write_text(json.dumps({**json.loads(content), "energy": -99.0}))
    assert resume(tmp_path)[0].energy == before
    assert paid(tmp_path) == 2


DAMAGES = {
    "forces cut": "forces=substr(forces, 1, 50)",
    "forces of fewer atoms": "forces=substr(forces, 1, 24)",
    "forces gone": "forces=NULL",
    "stress cut": "stress=substr(stress, 1, 24)",
    "details no JSON": "details='{\"a\": '",
    "details a list": "details='[1]'",
    "energy text": "energy='low'",
    "energy infinite": "energy=9e999",
    "energy gone": "energy=NULL",
    "positions cut": "positions=substr(positions, 1, 20)",
    "cell cut": "cell=substr(cell, 1, 20)",
    "positions infinite": "positions=x'" + "000000000000f07f" * 12 + "'",
    "numbers of no element": "numbers=x'ffffff7fffffff7fffffff7fffffff7f'",
    "iterations text": "iterations='many'",
    "core-seconds text": "core_seconds='long'",
    "wall-seconds text": "wall_seconds='long'",
    "reason a blob": "status='failed', reason=x'00ff'",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_is_named_in_one_line(tmp_path, damage):
    path = tmp_path / "run.db"
    dispatcher = Dispatcher(Paid(tmp_path / "paid", seconds=0.0), Ledger(path))
    dispatcher.label_many([copper(0.01), copper(0.02)], "train", 0)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE ledger SET {DAMAGES[damage]} WHERE id=2")
    db.close()
    readers = [lambda: list(Ledger(path).rows())]
    if "status=" not in DAMAGES[damage]:
        readers.append(lambda: read_labels(path))
    for read in readers:
        with pytest.raises(RunFolderError, match="row 2") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
