"""Every call is a row; nothing is paid twice; trouble is a row with its reason."""

import os
from collections import Counter
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from ase.build import bulk

from nucleate.errors import BadInput, BudgetExhausted, NucleateError, ReferenceFailed, RunFolderError
from nucleate.reference import Dispatcher, Label, Ledger, ReferenceSettings, content_hash, make_reference
from tests.reference.fakes import Emt


def copper(shift=0.0, a=3.6):
    atoms = bulk("Cu", a=a, cubic=True)
    atoms.positions[0, 0] = shift
    return atoms


def test_hash_sees_physics_and_nothing_else():
    atoms, settings = copper(0.01), {"engine": "x", "cutoff": 300}
    key = content_hash(atoms, settings)
    named = atoms.copy()
    named.info["name"] = "mine"
    named.set_tags(1)
    negative_zero = atoms.copy()
    negative_zero.positions[negative_zero.positions == 0] = -0.0
    assert content_hash(named, settings) == key
    assert content_hash(negative_zero, settings) == key
    assert content_hash(copper(0.02), settings) != key
    assert content_hash(copper(0.01, a=3.7), settings) != key
    assert content_hash(atoms, {"engine": "x", "cutoff": 301}) != key


def test_same_question_is_answered_from_the_ledger(tmp_path):
    marker = tmp_path / "calls"
    ledger = Ledger(tmp_path / "run.db")
    with Dispatcher(Emt(marker), ledger) as dispatcher:
        first = dispatcher.label_many([copper(), copper(), copper(0.1)], "train", 0)
        again = dispatcher.label_many([copper(0.1)], "train", 1)
    assert marker.read_text().count("call") == 2
    assert ledger.count() == 2
    assert first[0].energy == first[1].energy
    np.testing.assert_array_equal(again[0].forces, first[2].forces)
    rows = list(Ledger(tmp_path / "run.db").rows())
    assert [row.purpose for row in rows] == ["train", "train"]
    np.testing.assert_allclose(rows[1].atoms.positions, copper(0.1).positions)


def test_failures_are_rows_and_the_others_go_on(tmp_path):
    ledger = Ledger(tmp_path / "run.db")
    with Dispatcher(Emt(tmp_path / "calls"), ledger, timeout=0.5) as dispatcher:
        structures = [copper(), copper(0.111), copper(0.222), copper(0.444), copper(0.05)]
        answers = dispatcher.label_many(structures, "train", 0)
        repeated = dispatcher.label_many([copper(0.111)], "train", 1)
    kinds = [answer.kind if isinstance(answer, ReferenceFailed) else "ok" for answer in answers]
    assert kinds == ["ok", "unconverged", "timeout", "failed", "ok"]
    assert "engine bug" in answers[3].reason
    assert Counter(row.status for row in ledger.rows()) == {"failed": 1, "ok": 2, "timeout": 1, "unconverged": 1}
    assert repeated[0].kind == "unconverged"
    assert (tmp_path / "calls").read_text().count("call") == 5


def test_dead_worker_costs_only_its_own_structure(tmp_path):
    ledger = Ledger(tmp_path / "run.db")
    with Dispatcher(Emt(), ledger, workers=1) as dispatcher:
        answers = dispatcher.label_many([copper(), copper(0.333), copper(0.05)], "train", 0)
    assert isinstance(answers[0], Label)
    assert isinstance(answers[2], Label)
    assert "died" in answers[1].reason
    assert Counter(row.status for row in ledger.rows()) == {"failed": 1, "ok": 2}


def test_any_executor_will_do(tmp_path):
    with ThreadPoolExecutor(2) as executor:
        dispatcher = Dispatcher(Emt(), Ledger(tmp_path / "run.db"), executor=executor, timeout=5)
        answers = dispatcher.label_many([copper(0.01 * k) for k in range(1, 5)], "train", 0)
    assert all(isinstance(answer, Label) for answer in answers)


def test_budget_is_refused_before_any_call(tmp_path):
    marker = tmp_path / "calls"
    dispatcher = Dispatcher(Emt(marker), Ledger(tmp_path / "run.db"), budget=2)
    dispatcher.label_many([copper()], "train", 0)
    with pytest.raises(BudgetExhausted, match="budget of 2"):
        dispatcher.label_many([copper(0.01), copper(0.02)], "train", 0)
    assert marker.read_text().count("call") == 1
    dispatcher.label_many([copper(), copper(0.01)], "train", 0)
    assert dispatcher.remaining() == 0


def test_a_call_in_flight_is_taken_up_in_its_own_row(tmp_path):
    first = Ledger(tmp_path / "run.db")
    settings = Emt().settings()
    first.begin(content_hash(copper(), settings), copper(), "fake", settings, "train", 0)
    # A new process finds the row of a killed one.
    ledger = Ledger(tmp_path / "run.db")
    assert Counter(row.status for row in ledger.rows()) == {"interrupted": 1}
    Dispatcher(Emt(), ledger).label_many([copper()], "train", 0)
    (row,) = ledger.rows()
    assert (row.status, row.attempts) == ("ok", 2)


def test_a_repeated_round_counts_calls_as_the_first_time(tmp_path):
    ledger = Ledger(tmp_path / "run.db")
    dispatcher = Dispatcher(Emt(), ledger, budget=10)
    dispatcher.label_many([copper()], "train", 0)
    dispatcher.begin_round(1)
    dispatcher.label_many([copper(0.01), copper(0.02)], "explore", 1)
    assert dispatcher.calls() == 3
    dispatcher.begin_round(1)
    assert dispatcher.remaining() == 9
    dispatcher.label_many([copper(0.01)], "explore", 1)
    assert dispatcher.calls() == 2


def test_calls_of_a_proof_count_in_the_rounds_after_it(tmp_path):
    """As where a search that used up its limit is resumed with a larger one."""
    dispatcher = Dispatcher(Emt(), Ledger(tmp_path / "run.db"), budget=10)
    dispatcher.label_many([copper()], "train", 0)
    dispatcher.begin_round(1)
    dispatcher.label_many([copper(0.01), copper(0.02)], "proof", 1)
    dispatcher.begin_round(1, settled=["proof"])
    assert dispatcher.calls() == 3
    dispatcher.label_many([copper(0.03)], "explore", 1)
    assert dispatcher.calls() == 4


@pytest.mark.parametrize("content", [b"not a database at all, only text" * 40, b"SQLite format 3\x00" + b"\xff" * 600])
def test_damaged_database_is_one_line(tmp_path, content):
    path = tmp_path / "run.db"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"run\.db") as caught:
        Ledger(path)
    assert "\n" not in str(caught.value)


def test_an_executor_that_broke_is_said_and_nothing_is_wasted(tmp_path):

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        with pytest.raises(BrokenExecutor):
            executor.submit(os._exit, 1).result()
        dispatcher = Dispatcher(
            make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")),
            Ledger(tmp_path / "ledger.db"),
            executor=executor,
        )
        with pytest.raises(NucleateError, match="executor is broken"):
            dispatcher.label_many([bulk("Cu")], "train", 0)
    assert {row.status for row in dispatcher.ledger.rows()} == {"running"}


def test_an_object_that_is_no_reference_is_refused(tmp_path):
    class Old:
        name, surrogate = "old", True

        def settings(self):
            return {}

        def label(self, atoms):
            return Label(0.0, np.zeros((1, 3)), np.zeros(6))

    with pytest.raises(BadInput, match="k_points"):
        Dispatcher(Old(), Ledger(tmp_path / "ledger.db"))


def test_failures_may_be_asked_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db")
    dispatcher = Dispatcher(make_reference(ReferenceSettings(engine="ase", calculator="ase.calculators.emt:EMT")), ledger)
    assert isinstance(dispatcher.label_many([bulk("Si")], "train", 0)[0], ReferenceFailed)
    ledger.forget_failures()
    assert [row.status for row in ledger.rows()] == ["interrupted"]
    dispatcher.label_many([bulk("Si")], "train", 0)
    assert [row.status for row in ledger.rows()] == ["failed"]
