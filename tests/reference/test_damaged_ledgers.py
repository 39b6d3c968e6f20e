"""Damaged databases of a search: the message names the file, whether a copy in memory or the file itself is read."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from ase.build import bulk

from nucleate.csp.run_data import database_in_memory
from nucleate.errors import RunFolderError
from nucleate.reference.base import Label
from nucleate.reference.ledger import Ledger, database_errors, read_labels


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run.db"
    ledger = Ledger(path)
    ledger.begin("one", bulk("Al", "fcc", a=4.05), "emt", {}, "train", 0)
    ledger.finish("one", Label(-1.0, np.zeros((1, 3)), np.zeros(6)), 1.0)
    ledger._db.close()
    return path


def change(path, statement):
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(statement)


def rows_in_memory(path):
    with closing(database_in_memory(path)) as connection:
        return list(Ledger(connection, path).rows())


@pytest.mark.parametrize("read", [rows_in_memory, read_labels])
@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("ALTER TABLE ledger RENAME COLUMN purpose TO other", "purpose"),
        ("UPDATE ledger SET positions=1", "row 1"),
        ("UPDATE ledger SET purpose=CAST(x'74ff61' AS TEXT)", "UTF-8"),
    ],
)
def test_damaged_ledgers_are_named(path, read, statement, word):
    assert len(read(path)) == 1
    change(path, statement)
    with pytest.raises(RunFolderError, match=word) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_names_that_sqlite_cannot_repeat_are_no_other_error(tmp_path):
    with pytest.raises(RunFolderError, match=r"run\.db: contains text that is not UTF-8"), database_errors(tmp_path / "run.db"):
        b"\xff".decode()


def test_a_folder_in_place_of_the_database(tmp_path):
    (tmp_path / "run.db").mkdir()
    with pytest.raises(RunFolderError, match=r"run\.db: cannot be read"):
        database_in_memory(tmp_path / "run.db")
