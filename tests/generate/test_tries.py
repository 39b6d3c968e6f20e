import threading
import time

import numpy as np
import pytest
from ase import Atoms

from nucleate.errors import GenerationFailed
from nucleate.generate.base import Candidate
from nucleate.generate.tries import NotPlaced, make_many

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
        time.sleep(0.01)


def hangs_deaf(seed: int) -> Candidate:
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


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
    began = time.monotonic()
    with pytest.raises(GenerationFailed, match=r"16 times: ran over the time limit of 0\.05 s.*do something"):
        make_many(build, 100, np.random.default_rng(0), try_seconds=0.05, **WORDS)
    assert time.monotonic() - began < 5


def test_one_hanging_try_does_not_cost_the_batch():
    made = make_many(hangs_sometimes, 20, np.random.default_rng(0), try_seconds=0.05, **WORDS)
    assert len(made) == 20


def test_the_time_limit_holds_outside_the_main_thread():
    caught: list[BaseException] = []

    def target():
        try:
            make_many(hangs, 10, np.random.default_rng(0), try_seconds=0.05, **WORDS)
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
    alone = make_many(every_third_fails, 300, np.random.default_rng(0), try_seconds=1.0, workers=1, **WORDS)
    pooled = make_many(every_third_fails, 300, np.random.default_rng(0), try_seconds=1.0, workers=2, **WORDS)
    assert [c.seed for c in alone] == [c.seed for c in pooled]
