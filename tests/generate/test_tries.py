import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from nucleate.errors import GenerationFailed
from nucleate.generate.base import Candidate
from nucleate.generate.tries import NotPlaced, make_many
from tests.reference.test_process_trees import processes_of, until

WORDS = {"what": "test cells", "advice": "do something"}


def good(seed: int) -> Candidate:
    return Candidate(Atoms("H", cell=[2, 2, 2], pbc=True), "test", seed)


def every_third_fails(seed: int) -> Candidate:
    if seed % 3 == 0:
        raise NotPlaced("divisible by three")
    return good(seed)


def three_in_four_fail(seed: int) -> Candidate:
    if seed % 4:
        raise NotPlaced("not divisible by four")
    return good(seed)


def hangs(seed: int) -> Candidate:
    while True:
        sum(range(1000))


def hangs_deaf(seed: int) -> Candidate:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


def waits(seed: int) -> Candidate:
    while True:
        time.sleep(0.01)


def pauses(seed: int) -> Candidate:
    """As a busy machine does: the candidate takes longer than its limit but computes for less."""
    time.sleep(0.12)
    return good(seed)


def hangs_sometimes(seed: int) -> Candidate:
    return hangs(seed) if seed % 5 == 0 else good(seed)


def dies(seed: int) -> Candidate:
    import multiprocessing
    import os

    if multiprocessing.parent_process() is not None:
        os._exit(1)
    return good(seed)


def breaks(seed: int) -> Candidate:
    raise ZeroDivisionError("from deep inside")


def test_failures_are_replaced_and_order_is_kept():
    made = make_many(every_third_fails, 50, np.random.default_rng(0), try_seconds=1.0, **WORDS)
    assert len(made) == 50
    assert len({c.seed for c in made}) == 50
    again = make_many(every_third_fails, 50, np.random.default_rng(0), try_seconds=1.0, **WORDS)
    assert [c.seed for c in made] == [c.seed for c in again]


def test_mostly_failing_builders_still_deliver():
    made = make_many(three_in_four_fail, 200, np.random.default_rng(0), try_seconds=1.0, **WORDS)
    assert len(made) == 200


@pytest.mark.parametrize("build", [hangs, hangs_deaf])
def test_a_hanging_builder_is_stopped(build):
    began = time.process_time()
    with pytest.raises(GenerationFailed, match=r"16 times: exceeded the time limit of 0\.05 s.*do something"):
        make_many(build, 100, np.random.default_rng(0), try_seconds=0.05, **WORDS)
    assert time.process_time() - began < 5


def test_a_waiting_builder_is_stopped_as_well():
    with pytest.raises(GenerationFailed, match="exceeded the time limit"):
        make_many(waits, 10, np.random.default_rng(0), try_seconds=0.01, patience=0.1, **WORDS)


def test_a_busy_machine_costs_no_candidate():
    """Otherwise the structures of a seed would depend on the load."""
    made = make_many(pauses, 3, np.random.default_rng(0), try_seconds=0.05, **WORDS)
    assert [c.seed for c in made] == [c.seed for c in make_many(good, 3, np.random.default_rng(0), try_seconds=0.05, **WORDS)]
    box = []
    thread = threading.Thread(target=lambda: box.extend(make_many(pauses, 3, np.random.default_rng(0), try_seconds=0.05, **WORDS)))
    thread.start()
    thread.join()
    assert [c.seed for c in box] == [c.seed for c in made]


def test_one_hanging_try_does_not_cost_the_batch():
    made = make_many(hangs_sometimes, 20, np.random.default_rng(0), try_seconds=0.05, **WORDS)
    assert len(made) == 20


def test_the_time_limit_holds_outside_the_main_thread():
    caught: list[BaseException] = []

    def target():
        try:
            make_many(waits, 10, np.random.default_rng(0), try_seconds=0.005, **WORDS)
        except GenerationFailed as error:
            caught.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert "time limit" in str(caught[0])


def test_the_alarm_of_others_is_left_as_it_was():
    import signal

    before = signal.getsignal(signal.SIGALRM)
    remaining = signal.getitimer(signal.ITIMER_REAL)[0]
    make_many(good, 3, np.random.default_rng(0), try_seconds=1.0, **WORDS)
    assert signal.getsignal(signal.SIGALRM) is before
    assert abs(signal.getitimer(signal.ITIMER_REAL)[0] - remaining) < 1.0


def test_an_exception_inside_is_counted_and_named():
    with pytest.raises(GenerationFailed, match="ZeroDivisionError: from deep inside"):
        make_many(breaks, 3, np.random.default_rng(0), try_seconds=1.0, **WORDS)


def test_dead_workers_do_not_lose_the_batch(monkeypatch):
    monkeypatch.setattr("nucleate.generate.tries.SECONDS_WORTH_A_POOL", -1.0)
    made = make_many(dies, 20, np.random.default_rng(0), try_seconds=1.0, workers=2, **WORDS)
    assert len(made) == 20


def test_workers_and_this_process_agree(monkeypatch):
    monkeypatch.setattr("nucleate.generate.tries.SECONDS_WORTH_A_POOL", -1.0)
    # Each round of replacements starts workers anew.
    alone = make_many(every_third_fails, 12, np.random.default_rng(0), try_seconds=1.0, workers=1, **WORDS)
    pooled = make_many(every_third_fails, 12, np.random.default_rng(0), try_seconds=1.0, workers=2, **WORDS)
    assert [c.seed for c in alone] == [c.seed for c in pooled]


def swallows(seed: int) -> Candidate:
    """As a package does that catches everything."""
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
    except BaseException:
        return good(seed)
    raise AssertionError("no interrupt came")


def leaves(seed: int) -> Candidate:
    """As a package does that catches everything and ends the program."""
    try:
        return swallows_not(seed)
    except BaseException:
        raise SystemExit from None


def swallows_not(seed: int) -> Candidate:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.2)
    return good(seed)


class Destroyed:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)


def in_a_destructor(seed: int) -> Candidate:
    Destroyed()
    return good(seed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("build", [swallows, swallows_not, leaves, in_a_destructor])
def test_no_interrupt_is_lost(build):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        make_many(build, 5, np.random.default_rng(0), try_seconds=2.0, **WORDS)
    assert signal.getsignal(signal.SIGINT) is before
    assert not 0 < signal.getitimer(signal.ITIMER_REAL)[0] < 10  # pytest-timeout has a longer one
    assert len(make_many(good, 5, np.random.default_rng(0), try_seconds=2.0, **WORDS)) == 5


def test_a_handler_of_somebody_else_is_left_alone():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert len(make_many(good, 5, np.random.default_rng(0), try_seconds=2.0, **WORDS)) == 5
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Python's own pool trips over calls that were cancelled while a result was on its way.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_workers_end_with_an_interrupt(monkeypatch):
    monkeypatch.setattr("nucleate.generate.tries.SECONDS_WORTH_A_POOL", -1.0)
    began, others = time.monotonic(), set(threading.enumerate())
    threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        make_many(hangs_in_workers, 200, np.random.default_rng(0), try_seconds=60.0, workers=2, **WORDS)
    assert time.monotonic() - began < 15
    deadline = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []
    # The thread of the pool trips here, and not in the test after this one.
    for thread in set(threading.enumerate()) - others:
        thread.join(10)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which processes are left")
def test_workers_end_with_a_killed_leader(tmp_path):
    script = tmp_path / "leader.py"
    script.write_text(
        "import numpy as np\nfrom nucleate.generate import tries\nfrom tests.generate.test_tries import WORDS, hangs_in_workers\n"
        "if __name__ == '__main__':\n    tries.SECONDS_WORTH_A_POOL = -1.0\n"
        "    tries.make_many(hangs_in_workers, 200, np.random.default_rng(0), try_seconds=600.0, workers=2, **WORDS)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    leader = subprocess.Popen([sys.executable, script], env={**os.environ, "PYTHONPATH": paths, "NUCLEATE_TEST": str(tmp_path)})

    def left():
        return [pid for pid in processes_of(tmp_path) if pid != leader.pid]

    try:
        # Two workers and who watches them, and Python's own tracker.
        until(lambda: len(left()) >= 5)
        leader.kill()
        leader.wait()
        until(lambda: not left())
    finally:
        for pid in left():
            os.kill(pid, signal.SIGKILL)


def hangs_in_workers(seed: int) -> Candidate:
    return good(seed) if multiprocessing.parent_process() is None else waits(seed)


def test_what_runs_into_its_time_limit_is_given_up_early():
    with pytest.raises(GenerationFailed, match="2 times: exceeded the time limit"):
        make_many(hangs, 100, np.random.default_rng(0), try_seconds=0.2, patience=0.3, **WORDS)


def test_what_would_take_days_is_not_begun(monkeypatch):
    monkeypatch.setattr("nucleate.generate.tries.MOST_HOURS", 1e-4)
    with pytest.raises(GenerationFailed, match=r"hours.*do something"):
        make_many(hangs_sometimes, 2000, np.random.default_rng(0), try_seconds=0.05, **WORDS)


def test_workers_start_without_torch():
    """Each worker process would import it for a second or two, and in 200 MB."""
    code = """
import sys
import numpy as np
from nucleate.generate import GenerateSettings, P1Generator, SymmetricGenerator

settings = GenerateSettings(workers=1)
for generator in (SymmetricGenerator({"Al": 4, "O": 6}, settings), P1Generator({"Al": 4}, settings)):
    assert len(generator.propose(2, np.random.default_rng(0))) == 2
print("torch" in sys.modules)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "False", run.stderr
