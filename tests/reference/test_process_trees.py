"""Workers and the engines that they start end with their leader, with their worker, and at the time limit."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from nucleate.processes.interrupts import listening
from nucleate.reference import Dispatcher, Label, Ledger
from nucleate.reference.asking import ask
from tests.reference.fakes import Deaf, Engine, Paid, Stubborn
from tests.reference.test_ledger_and_dispatch import copper

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes are left")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds after which something has not happened: no test waits for so long unless it fails."""


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def alive(pids):
    """Those that still run; zombies do not."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found


def processes_of(folder):
    """Every process that was started with this folder in its environment, whoever its parent is now."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"NUCLEATE_TEST={folder}\0".encode() in path.read_bytes() + b"\0":
                found.append(int(path.parent.name))
        except OSError:
            continue
    return alive(found)


def invoices(folder, what="begun"):
    """Hash, worker and watcher of each line."""
    path = folder / "paid"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(line[1], int(line[2]), int(line[3])) for line in lines if line[0] == what]


def engines(folder, started=1):
    """Ids of engines' programs and of their workers, seven for each engine, once this many are up."""
    path = folder / "paid.pids"
    lines = path.read_text().split() if path.exists() else []
    return [int(line) for line in lines] if len(lines) >= 7 * started else []


@contextmanager
def leading(folder, reference, coordinates, workers=2, timeout=600.0, session=False):
    command = [sys.executable, Path(__file__).with_name("leader.py"), folder, reference, workers, timeout, *coordinates]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "NUCLEATE_TEST": str(folder)}
    leader = subprocess.Popen(
        [*map(str, command)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=session
    )
    try:
        yield leader
    finally:
        for pid in processes_of(folder):
            os.kill(pid, signal.SIGKILL)
        leader.communicate()


def kill_leader(leader, folder):
    leader.kill()


def interrupt_leader(leader, folder):
    leader.send_signal(signal.SIGINT)


def terminate_leader(leader, folder):
    leader.terminate()


@pytest.mark.parametrize("end", [kill_leader, interrupt_leader, pytest.param(terminate_leader, marks=pytest.mark.slow)])
def test_nothing_outlives_the_leader(tmp_path, end):
    with leading(tmp_path, "Engine", [0.01, 0.02]) as leader:
        pids = until(lambda: engines(tmp_path, 2))
        # Two engines of six processes and their worker each.
        assert len(alive(pids)) == 14
        end(leader, tmp_path)
        until(lambda: not processes_of(tmp_path) and not alive(pids))
        _, errors = leader.communicate()
        assert ("KeyboardInterrupt" in errors) == (end is interrupt_leader)


@pytest.mark.parametrize("victim", ["worker", "watcher"])
def test_an_engine_does_not_outlive_its_worker(tmp_path, victim):
    """The call is tried once more on a new worker, then it has failed; the neighbour is not touched."""
    with leading(tmp_path, "Engine", [0.01], workers=1) as leader:
        pids = until(lambda: engines(tmp_path, 1))
        os.kill(invoices(tmp_path)[-1][1 if victim == "worker" else 2], signal.SIGKILL)
        until(lambda: not alive(pids))
        pids = until(lambda: engines(tmp_path, 2))
        os.kill(invoices(tmp_path)[-1][1 if victim == "worker" else 2], signal.SIGKILL)
        output, _ = leader.communicate(timeout=PATIENCE)
        assert output.split() == ["failed"]
        until(lambda: not alive(pids) and not processes_of(tmp_path))
    (row,) = Ledger(tmp_path / "run.db").rows()
    assert "died twice" in row.reason
    assert row.attempts == len(invoices(tmp_path)) == 2


def test_an_engine_ends_at_the_time_limit(tmp_path):
    with Dispatcher(Engine(tmp_path / "paid"), Ledger(tmp_path / "run.db"), workers=1, timeout=2.0) as dispatcher:
        (answer,) = dispatcher.label_many([copper()], "train", 0)
        assert answer.kind == "timeout"
        pids = engines(tmp_path, 0)
        assert pids
        until(lambda: not alive(pids))


def test_an_engine_ends_at_the_time_limit_in_this_process(tmp_path):
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    answer, _ = ask(Engine(tmp_path / "paid"), copper(), 1.5)
    assert answer.kind == "timeout"
    pids = [pid for pid in engines(tmp_path, 0) if pid != os.getpid()]
    assert pids
    until(lambda: not alive(pids))
    assert not any(name.startswith("NUCLEATE_STARTED") for name in os.environ)
    # The alarm is as it was: another's, or none.
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (before > 0)


def test_what_no_handler_can_stop_ends_at_the_time_limit_and_touches_no_neighbour(tmp_path):
    structures = [copper(0.511), copper(0.01), copper(0.522), copper(0.02), copper(0.533), copper(0.03), copper(0.04)]
    with Dispatcher(Stubborn(tmp_path / "paid"), Ledger(tmp_path / "run.db"), workers=2, timeout=1.0) as dispatcher:
        answers = dispatcher.label_many(structures, "train", 0)
    assert [getattr(answer, "kind", "ok") for answer in answers] == ["timeout", "ok", "timeout", "ok", "timeout", "ok", "ok"]
    begun = invoices(tmp_path)
    assert len(begun) == len({key for key, _, _ in begun}) == len(structures)
    until(lambda: not alive({pid for _, *pids in begun for pid in pids}))


@pytest.mark.parametrize("victim", ["worker", pytest.param("watcher", marks=pytest.mark.slow)])
def test_a_killed_worker_costs_one_repeated_call(tmp_path, victim):
    ledger = Ledger(tmp_path / "run.db")
    killed = []

    def kill_one(event):
        """Both workers are at work when the third answer arrives."""
        if not killed and len({worker for _, worker, _ in invoices(tmp_path)}) == 2:
            ended = {key for key, *_ in invoices(tmp_path, "ended")}
            running = [line for line in invoices(tmp_path) if line[0] not in ended]
            if running:
                killed.append(running[0])
                os.kill(running[0][1 if victim == "worker" else 2], signal.SIGKILL)

    structures = [copper(0.01 * k) for k in range(1, 9)]
    with Dispatcher(Paid(tmp_path / "paid", seconds=0.4), ledger, workers=2) as dispatcher:
        answers = dispatcher.label_many(structures, "train", 0, kill_one)
    assert all(isinstance(answer, Label) for answer in answers)
    assert len(killed) == 1
    counts = Counter(key for key, *_ in invoices(tmp_path))
    assert sum(counts.values()) <= 9
    assert {key for key, count in counts.items() if count > 1} <= {killed[0][0]}
    assert {row.hash: row.attempts for row in ledger.rows()} == {key: counts[key] for key in counts}


def test_a_worker_that_dies_while_idle_costs_nothing(tmp_path):
    ledger = Ledger(tmp_path / "run.db")
    with Dispatcher(Paid(tmp_path / "paid", seconds=0.01), ledger, workers=1) as dispatcher:
        dispatcher.label_many([copper(0.01)], "train", 0)
        _, worker, watcher = invoices(tmp_path)[0]
        os.kill(worker, signal.SIGKILL)
        until(lambda: not alive([worker, watcher]))
        answers = dispatcher.label_many([copper(0.02), copper(0.03)], "train", 0)
    assert all(isinstance(answer, Label) for answer in answers)
    assert len(invoices(tmp_path)) == 3


def test_a_worker_that_is_killed_as_it_begins_is_replaced(tmp_path):
    """And its neighbour goes on."""
    with Dispatcher(Paid(tmp_path / "paid", seconds=0.4), Ledger(tmp_path / "run.db"), workers=2) as dispatcher:
        dispatcher.label_many([copper(0.01)], "train", 0)
        killed = []

        def kill_the_new_one(event):
            fresh = [slot for slot in dispatcher._slots if slot.task is None and slot.future is not None]
            for slot in fresh[: 2 - len(killed)]:
                os.kill(slot.watcher, signal.SIGKILL)
                killed.append(slot.watcher)

        # The first worker's next answer may come before the second has begun, or after it.
        answers = dispatcher.label_many([copper(0.01 * k) for k in range(2, 6)], "train", 0, kill_the_new_one)
    assert all(isinstance(answer, Label) for answer in answers)
    assert len(invoices(tmp_path)) == 5


def test_a_terminals_interrupt_is_the_leaders_alone(tmp_path):
    """Ctrl-C reaches the whole group, workers that have just begun included: they write nothing and end."""
    for seconds in (0.0, 0.3):
        folder = tmp_path / str(seconds)
        folder.mkdir()
        with leading(folder, "Paid", [0.01, 0.02], session=True) as leader:
            until(lambda folder=folder: (folder / "run.db").exists())
            time.sleep(seconds)
            os.killpg(leader.pid, signal.SIGINT)
            _, errors = leader.communicate(timeout=PATIENCE)
            assert "spawn_main" not in errors
            until(lambda folder=folder: not processes_of(folder))


def test_an_interrupt_that_an_engine_swallows_stops_the_run_in_this_process(tmp_path):
    with leading(tmp_path, "Deaf", [0.01, 0.02], workers=0) as leader:
        until(lambda: invoices(tmp_path))
        leader.send_signal(signal.SIGINT)
        _, errors = leader.communicate(timeout=PATIENCE)
        assert "KeyboardInterrupt" in errors
    assert [row.status for row in Ledger(tmp_path / "run.db").rows()] == ["interrupted"]


def test_so_it_does_within_a_search_that_listens_itself(tmp_path):
    killer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    ledger = Ledger(tmp_path / "run.db")
    killer.start()
    with pytest.raises(KeyboardInterrupt), listening():
        Dispatcher(Deaf(tmp_path / "paid"), ledger).label_many([copper(0.01), copper(0.02)], "train", 0)
    assert [row.status for row in ledger.rows()] == ["running"]


def test_an_interrupted_run_repeats_at_most_the_calls_in_flight(tmp_path):
    coordinates = [round(0.01 * k, 2) for k in range(1, 13)]
    with leading(tmp_path, "Paid", coordinates) as leader:
        until(lambda: len(invoices(tmp_path, "ended")) >= 4)
        leader.send_signal(signal.SIGINT)
        _, errors = leader.communicate(timeout=PATIENCE)
        assert "KeyboardInterrupt" in errors
        until(lambda: not processes_of(tmp_path))
    answered = {row.hash for row in Ledger(tmp_path / "run.db").rows() if row.status == "ok"}
    before = len(invoices(tmp_path))
    with leading(tmp_path, "Paid", coordinates) as leader:
        output, _ = leader.communicate(timeout=PATIENCE)
    assert output.split() == ["ok"] * 12
    assert not answered & {key for key, *_ in invoices(tmp_path)[before:]}
    assert 12 <= len(invoices(tmp_path)) <= 14


def test_an_answer_that_is_in_hand_when_another_call_stops_the_run_is_recorded(tmp_path):
    ledger = Ledger(tmp_path / "run.db")

    def keys(what):
        return {key for key, *_ in invoices(tmp_path, what)}

    def stop(event):
        """Once the neighbour is at work, too: wait for its answer."""
        if running := keys("begun") - keys("ended"):
            until(lambda: running <= keys("ended"))
            # The answer is in hand once it has come through the pipe.
            until(lambda: all(slot.future is None or slot.future.done() for slot in dispatcher._slots))
            raise KeyboardInterrupt

    structures = [copper(0.01 * k) for k in range(1, 13)]
    with Dispatcher(Paid(tmp_path / "paid", seconds=0.3), ledger, workers=2) as dispatcher, pytest.raises(KeyboardInterrupt):
        dispatcher.label_many(structures, "train", 0, stop)
    assert {row.hash for row in ledger.rows() if row.status == "ok"} == keys("ended")
