"""Searches that share a ledger: what one has paid, no other pays, whoever is killed, cut off or impatient."""

import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nucleate.csp.run_folder import RunFolder
from nucleate.errors import BudgetExhausted, ReferenceFailed, StorageFailed
from nucleate.reference import Dispatcher, Ledger
from nucleate.reference.shared import ledger as module
from nucleate.reference.shared.ledger import SharedLedger
from tests.reference.fakes import Emt, Paid
from tests.shared_ledger.postgres_here import PASSWORD
from tests.shared_ledger.structures import copper


class Away(SharedLedger):
    """A search that is cut off: nobody renews its leases, and nothing is given back."""

    def _begin_renewing(self):
        pass


def rows_of(address):
    with SharedLedger(address) as shared:
        return {row.hash: row for row in shared.rows()}


def calls(marker):
    return sum(not line.startswith("ended") for line in marker.read_text().splitlines()) if marker.exists() else 0


def test_what_one_search_has_calculated_costs_another_nothing(address, tmp_path):
    structures = [copper(0.001 * k) for k in range(4)]
    ledgers = [Ledger(tmp_path / f"{k}.db") for k in range(2)]
    marker = tmp_path / "calls"
    answers = []
    for ledger in ledgers:
        with SharedLedger(address) as shared, Dispatcher(Emt(marker), ledger, budget=5, shared=shared) as dispatcher:
            dispatcher.begin_round(0)
            answers.append(dispatcher.label_many(structures, "train", 0))
            # A repeated round asks again, and pays no more than before.
            dispatcher.begin_round(0)
            dispatcher.label_many(structures, "train", 0)
            assert dispatcher.calls() == (4 if ledger is ledgers[0] else 0)
            assert dispatcher.remaining() == (1 if ledger is ledgers[0] else 5)
            if ledger is ledgers[1]:
                # The budget is that of the calculations that are made.
                with pytest.raises(BudgetExhausted):
                    dispatcher.label_many([*structures, *(copper(0.01 * k) for k in range(1, 7))], "train", 1)
                assert ledger.count() == 0
    assert calls(marker) == 4
    for one, other in zip(*answers, strict=True):
        assert one.energy == other.energy
        assert np.array_equal(one.forces, other.forces)
        assert np.array_equal(one.stress, other.stress)
    assert [ledger.count() for ledger in ledgers] == [4, 0]
    rows = list(ledgers[1].rows())
    assert all(row.found and row.status == "ok" and row.core_seconds == 0 for row in rows)
    assert [row.hash for row in rows] == [row.hash for row in ledgers[0].rows()]
    assert all(row.attempts == 1 for row in rows_of(address).values())


def test_two_searches_at_once_pay_each_calculation_once(address, tmp_path, monkeypatch):
    monkeypatch.setattr("nucleate.reference.dispatch.POLL", 0.02)
    structures = [copper(0.001 * k) for k in range(12)]
    invoices = tmp_path / "invoices"
    results = {}

    def search(number):
        order = structures if number == 0 else structures[::-1]
        with (
            SharedLedger(address) as shared,
            Dispatcher(Paid(invoices, 0.02), Ledger(tmp_path / f"{number}.db"), shared=shared) as dispatcher,
        ):
            for first in range(0, 12, 4):
                results[number, first] = dispatcher.label_many(order[first : first + 4], "train", first)

    searches = [threading.Thread(target=search, args=(number,)) for number in range(3)]
    for one in searches:
        one.start()
    for one in searches:
        one.join()
    assert len(results) == 9
    paid = Counter(line.split()[1] for line in invoices.read_text().splitlines() if line.startswith("begun"))
    assert len(paid) == 12
    assert set(paid.values()) == {1}
    assert sum(Ledger(tmp_path / f"{number}.db").count() for number in range(3)) == 12
    # Rows are in the order of the structures, whoever calculated them.
    keys = [[row.hash for row in Ledger(tmp_path / f"{number}.db").rows()] for number in range(3)]
    assert keys[0] == keys[1][::-1]
    assert keys[1] == keys[2]


def test_a_lease_that_is_not_renewed_ends(address):
    task = {"a": copper()}
    with Away(address, lease=0.6) as lost, SharedLedger(address, lease=0.6) as other:
        assert lost.claim(task, "fake", {}) == {"a"}
        lost.begin("a")
        assert other.claim(task, "fake", {}) == set()
        time.sleep(0.8)
        assert other.claim(task, "fake", {}) == {"a"}
        other.begin("a")
        assert lost.claim(task, "fake", {}) == set()
        row = rows_of(address)["a"]
        assert (row.status, row.attempts) == ("running", 2)
        other.finish("a", ReferenceFailed("no convergence", kind="unconverged"), 1.5)
        # Who comes late has a result as well; the first one is kept.
        lost.finish("a", ReferenceFailed("another reason"), 9.0)
        row = rows_of(address)["a"]
        assert (row.status, row.attempts, row.core_seconds) == ("unconverged", 2, 1.5)


def test_a_lease_that_is_renewed_holds(address):
    task = {"a": copper()}
    with SharedLedger(address, lease=0.8) as busy, SharedLedger(address, lease=0.8) as other:
        assert busy.claim(task, "fake", {}) == {"a"}
        busy.begin("a")
        time.sleep(2.0)
        assert other.claim(task, "fake", {}) == set()
    # Closed in an orderly way, it gives back what it has not finished, and the time is not forgotten.
    row = rows_of(address)["a"]
    assert row.status == "interrupted"
    assert 1.5 < row.lost_seconds < 60
    with SharedLedger(address) as next_one:
        assert next_one.claim(task, "fake", {}) == {"a"}


def test_a_search_takes_its_own_claims_up_at_once(address):
    task = {"a": copper()}
    with Away(address, owner="search 1") as killed:
        killed.claim(task, "fake", {})
        killed.begin("a")
        with SharedLedger(address, owner="search 1") as again:
            assert again.claim(task, "fake", {}) == {"a"}


def test_failures_of_a_machine_are_not_shared(address, tmp_path):
    """A crash may be that of one machine; a calculation that does not converge does not converge elsewhere."""
    marker = tmp_path / "calls"
    for number in range(2):
        with (
            SharedLedger(address) as shared,
            Dispatcher(Emt(marker), Ledger(tmp_path / f"{number}.db"), shared=shared) as dispatcher,
        ):
            unconverged, failed = dispatcher.label_many([copper(0.111), copper(0.444)], "train", 0)
        assert (unconverged.kind, failed.kind) == ("unconverged", "failed")
        assert calls(marker) == 2 + number
    assert sorted(row.attempts for row in rows_of(address).values()) == [1, 2]


def test_an_interrupt_gives_back_what_is_not_finished(address, tmp_path):
    class Interrupted(Emt):
        def label(self, atoms):
            if round(float(atoms.positions[0, 0]), 3) == 0.002:
                raise KeyboardInterrupt
            return super().label(atoms)

    structures = [copper(0.001 * k) for k in range(4)]
    with (
        SharedLedger(address) as shared,
        Dispatcher(Interrupted(), Ledger(tmp_path / "0.db"), shared=shared) as dispatcher,
    ):
        with pytest.raises(KeyboardInterrupt):
            dispatcher.label_many(structures, "train", 0)
        assert Counter(row.status for row in rows_of(address).values()) == {"ok": 2, "interrupted": 2}


def test_killed_at_random_moments_nothing_is_lost_and_each_kill_costs_one_attempt(address, tmp_path):
    rng = random.Random(5)
    kills = 0
    script = Path(__file__).with_name("one_search.py")
    invoices = tmp_path / "invoices"
    for attempt in range(4):
        command = [sys.executable, script, address, tmp_path / "run.db", invoices, "a search"]
        process = subprocess.Popen(command)
        if attempt < 3:
            # Killed after some calculations, however long the start takes.
            wanted = calls(invoices) + rng.randint(2, 9)
            while calls(invoices) < wanted and process.poll() is None:
                time.sleep(0.005)
            kills += process.poll() is None
            process.kill()
        assert process.wait() == (0 if attempt == 3 else -9)
    rows = rows_of(address)
    assert Counter(row.status for row in rows.values()) == {"ok": 20}
    assert sum(row.attempts for row in rows.values()) <= 20 + kills
    begun = Counter(line.split()[1] for line in invoices.read_text().splitlines() if line.startswith("begun"))
    assert sum(begun.values()) <= 20 + kills
    with Dispatcher(Emt(), Ledger(tmp_path / "run.db")) as dispatcher:
        assert dispatcher.calls() == 20


def test_labels_outlive_a_server_that_is_away(server, tmp_path, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    monkeypatch.setattr(module, "PATIENCE", (0.05,))
    structures = [copper(0.02 + 0.001 * k) for k in range(3)]

    class StopsTheServer(Emt):
        def label(self, atoms):
            if round(float(atoms.positions[0, 0]), 3) == 0.021:
                server.stop()
            return super().label(atoms)

    ledger = Ledger(tmp_path / "run.db")
    try:
        with pytest.raises(StorageFailed, match="is kept"), SharedLedger(server.url, "search") as shared:
            Dispatcher(StopsTheServer(), ledger, shared=shared).label_many(structures, "train", 0)
    finally:
        server.start()
    assert Counter(row.status for row in ledger.rows()) == {"ok": 2, "interrupted": 1}
    marker = tmp_path / "calls"
    with SharedLedger(server.url, "search") as shared, Dispatcher(Emt(marker), ledger, shared=shared) as dispatcher:
        dispatcher.label_many(structures, "train", 0)
    assert calls(marker) == 1
    with SharedLedger(server.url) as shared, Dispatcher(Emt(marker), Ledger(tmp_path / "other.db"), shared=shared) as dispatcher:
        dispatcher.label_many(structures, "train", 0)
        assert dispatcher.calls() == 0
    assert calls(marker) == 1


def test_a_damaged_row_is_calculated_again(address, tmp_path, monkeypatch):
    monkeypatch.setattr("nucleate.reference.dispatch.POLL", 0.02)
    marker = tmp_path / "calls"
    for number in range(2):
        with SharedLedger(address) as shared, Dispatcher(Emt(marker), Ledger(tmp_path / f"{number}.db"), shared=shared) as dispatcher:
            dispatcher.label_many([copper()], "train", 0)
            if number == 0:
                with shared._engine.begin() as connection:
                    connection.execute(module._TABLE.update().values(forces=b"x"))
            else:
                assert dispatcher.calls() == 1
    assert calls(marker) == 2
    assert [row.attempts for row in rows_of(address).values()] == [2]


def test_who_has_lost_a_lease_notices_and_disturbs_nobody(address, tmp_path):
    task = {"a": copper()}
    with Away(address, lease=0.3) as late, SharedLedger(address) as other, SharedLedger(address) as third:
        late.claim(task, "fake", {})
        time.sleep(0.5)
        assert other.claim(task, "fake", {}) == {"a"}
        assert other.begin("a")
        assert not late.begin("a")
        late.finish("a", ReferenceFailed("out of memory"), 1.0)
        assert third.claim(task, "fake", {}) == set()
        assert rows_of(address)["a"].status == "running"


def test_failures_that_a_repair_undoes_are_withdrawn(address, tmp_path):
    """All calculations of a first batch fail because of the set-up; the same search repeats them once it is repaired."""
    ledger, marker = Ledger(tmp_path / "run.db"), tmp_path / "calls"
    with SharedLedger(address, "search") as shared, Dispatcher(Emt(marker), ledger, shared=shared) as dispatcher:
        assert dispatcher.label_many([copper(0.111)], "train", 0)[0].kind == "unconverged"
        dispatcher.forget_failures()
    with SharedLedger(address, "search") as shared, Dispatcher(Emt(marker), ledger, shared=shared) as dispatcher:
        dispatcher.label_many([copper(0.111)], "train", 0)
        assert dispatcher.calls() == 1
    assert calls(marker) == 2


def test_what_was_never_handed_out_is_no_call(address, tmp_path):
    class Stops(Emt):
        def label(self, atoms):
            raise KeyboardInterrupt

    ledger = Ledger(tmp_path / "run.db")
    with SharedLedger(address) as shared, Dispatcher(Stops(), ledger, shared=shared) as dispatcher:
        with pytest.raises(KeyboardInterrupt):
            dispatcher.label_many([copper(0.001 * k) for k in range(5)], "train", 0)
        assert dispatcher.calls() == 1
        assert ledger.hashes_before(1) == {next(row.hash for row in ledger.rows() if row.attempts)}


def test_a_search_that_waits_holds_nobody_up(address):
    """Its polling locks no row of another search: renewing and finishing go on at any time."""
    tasks = {f"{k:03d}": copper(0.001 * k) for k in range(40)}
    stop = threading.Event()
    failed = []

    def wait_for_them(waiting):
        while not stop.is_set():
            try:
                assert waiting.claim(tasks, "fake", {}) == set()
            except BaseException as error:
                failed.append(error)
                return

    with SharedLedger(address) as owner, SharedLedger(address) as waiting:
        assert owner.claim(tasks, "fake", {}) == set(tasks)
        polling = threading.Thread(target=wait_for_them, args=(waiting,))
        polling.start()
        for _ in range(30):
            owner._run(owner._renew_once)
        stop.set()
        polling.join()
    assert not failed


def test_a_copied_run_is_another_search(tmp_path):
    with RunFolder.create(tmp_path / "run", "") as run:
        name = run.owner()
        assert run.owner() == name
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "run").rename(tmp_path / "moved")
    with RunFolder.open(tmp_path / "moved") as moved, RunFolder.open(tmp_path / "copy") as copy:
        assert moved.owner() == name
        assert copy.owner() != name
