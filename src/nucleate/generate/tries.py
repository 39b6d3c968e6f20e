"""Generation of many candidates, each from its own seed and with a time limit, in this process or in workers.

A failed candidate is counted and replaced by one from a new seed. The candidates depend only on the seeds, not on the number of processes.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from nucleate.errors import GenerationFailed, quoted
from nucleate.generate.base import Candidate
from nucleate.processes.interrupts import check, listening
from nucleate.processes.limits import OutOfTime, available_cores, processor_time_limit, time_limit
from nucleate.processes.pools import worker_pool

log = logging.getLogger(__name__)

Build = Callable[[int], Candidate]
Outcome = Candidate | str

SEED_BELOW = 2**53
"""Upper bound of a seed; smaller integers are exact in JSON."""
DRY = 16
"""Number of consecutive failures after which generation fails; four times as many once a candidate has been generated."""
TRIES_EACH = 20
"""Largest number of attempts per requested candidate."""
SECONDS_WORTH_A_POOL = 4.0
"""Estimated time of the remaining candidates above which worker processes are started, s."""
PATIENCE = 8.0
"""Time after which generation fails if no candidate has been generated with distances or volumes of the user, s."""
MOST_HOURS = 2.0
"""Largest estimated time of the remaining candidates, h; a search generates as many again in every round."""
CHUNKS_PER_WORKER = 8
"""Number of chunks of seeds that each worker processes."""


class NotPlaced(Exception):
    """A builder could not place the atoms of a structure; the message is the reason."""


LONGEST = 20
"""Ratio of the longest time of a candidate to the limit of its processor time."""
PAUSE = 0.05
"""Time between two looks at the processor time of a thread, s."""


def make_many(
    build: Build,
    n: int,
    rng: np.random.Generator,
    *,
    what: str,
    advice: str,
    try_seconds: float,
    workers: int | None = None,
    patience: float = math.inf,
) -> list[Candidate]:
    """Return exactly `n` candidates, in the order of their seeds.

    Args:
        build: returns one candidate from a seed, or raises an exception; it must be picklable.
        n: number of candidates.
        rng: random number generator of the seeds.
        what: what is generated, for the error message.
        advice: what the user can do, for the error message.
        try_seconds: limit of the processor time of each candidate, s, so that candidates do not depend on the load of the machine; code
            that waits is stopped after `LONGEST` times as long.
        workers: number of processes; None for all available cores. Small jobs run in this process.
        patience: time after which generation fails if no candidate has been generated, s.

    Raises:
        GenerationFailed: fewer than `n` candidates could be generated, or they would take longer than `MOST_HOURS`; the message counts
            the failures of each kind.
        KeyboardInterrupt: there was an interrupt, even if a builder suppressed it; worker processes are ended.
    """
    with listening():
        return _make_many(build, n, rng, what, advice, try_seconds, workers, patience)


def _make_many(
    build: Build, n: int, rng: np.random.Generator, what: str, advice: str, try_seconds: float, workers: int | None, patience: float
) -> list[Candidate]:
    made: dict[int, Candidate] = {}
    failures: Counter[str] = Counter()

    def keep(places: list[int], outcomes: Iterator[Outcome]) -> None:
        for place, outcome in zip(places, outcomes, strict=True):
            if isinstance(outcome, str):
                failures[outcome] += 1
            else:
                made[place] = outcome

    pending = list(range(n))
    seconds_each = 0.0
    tried = dry = 0
    while pending and tried < TRIES_EACH * n and dry < (4 * DRY if made else DRY):
        before = len(made)
        seeds = [int(seed) for seed in rng.integers(SEED_BELOW, size=len(pending))]
        probe = DRY if not tried else 0
        began = time.perf_counter()
        if probe:
            # The first candidates give an estimate of the time of the rest, and show early whether any can be generated.
            done = 0
            for outcome in _here(build, seeds[:probe], try_seconds):
                keep(pending[done : done + 1], iter([outcome]))
                done += 1
                if not made and done > 1 and time.perf_counter() - began > patience:
                    break
            seconds_each = (time.perf_counter() - began) / done
            if not made and (n >= DRY or done < len(seeds[:probe])):
                break  # further candidates would each take the full time limit
            hours = seconds_each * (n / len(made) * done - done) / (workers or available_cores()) / 3600 if made else 0.0
            if hours > MOST_HOURS:
                reasons = _reasons(failures)
                raise GenerationFailed(
                    f"generating {n} {what} would take about {hours:.0f} hours: only {len(made)} of {done} succeeded ({reasons}); {advice}"
                )
        places, rest = pending[probe:], seeds[probe:]
        count = min(workers or available_cores(), len(rest))
        worth_it = seconds_each * len(rest) > SECONDS_WORTH_A_POOL
        if count > 1 and worth_it and not multiprocessing.current_process().daemon:
            keep(places, _in_processes(build, rest, try_seconds, count))
        else:
            keep(places, _here(build, rest, try_seconds))
        tried += len(pending)
        dry = dry + len(pending) if len(made) == before else 0
        pending = [place for place in range(n) if place not in made]
    if not pending:
        return [made[place] for place in range(n)]
    raise GenerationFailed(f"only {len(made)} of {n} {what} could be generated ({_reasons(failures)}); {advice}")


def _reasons(failures: Counter[str]) -> str:
    return "; ".join(f"{number} times: {quoted(reason)}" for reason, number in failures.most_common(3))


def _one(build: Build, seed: int, seconds: float) -> Outcome:
    try:
        return _within(lambda: build(seed), seconds)
    except OutOfTime:
        return f"exceeded the time limit of {seconds:g} s"
    except NotPlaced as reason:
        return str(reason)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _here(build: Build, seeds: list[int], seconds: float) -> Iterator[Outcome]:
    for seed in seeds:
        outcome = _one(build, seed, seconds)
        check()
        yield outcome


def _within(call: Callable[[], Candidate], seconds: float) -> Candidate:
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        with time_limit(LONGEST * seconds), processor_time_limit(seconds):
            return call()
    return _within_thread(call, seconds)


def _within_thread(call: Callable[[], Candidate], seconds: float) -> Candidate:
    """Run a call in a helper thread, for threads that receive no signals; a call that exceeds the limit is left running."""
    box: list[Candidate | BaseException] = []
    clock: list[int] = []

    def target() -> None:
        clock.append(time.pthread_getcpuclockid(threading.get_ident()))
        try:
            box.append(call())
        except BaseException as error:
            box.append(error)

    helper = threading.Thread(target=target, daemon=True)
    began = time.monotonic()
    helper.start()
    while not box and time.monotonic() - began < LONGEST * seconds and (not clock or _read(clock[0]) < seconds):
        helper.join(min(seconds, PAUSE))
    if not box:
        raise OutOfTime
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]


def _read(clock: int) -> float:
    """Return the processor time of a thread, s; 0 if it has ended."""
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


_worker_build: Build | None = None
_worker_seconds = 0.0


def _start_worker(build: Build, seconds: float) -> None:
    global _worker_build, _worker_seconds
    _worker_build, _worker_seconds = build, seconds


def _work(seeds: list[int]) -> list[Outcome]:
    assert _worker_build is not None
    return list(_here(_worker_build, seeds, _worker_seconds))


def _in_processes(build: Build, seeds: list[int], seconds: float, workers: int) -> Iterator[Outcome]:
    size = max(1, -(-len(seeds) // (workers * CHUNKS_PER_WORKER)))
    chunks = [seeds[i : i + size] for i in range(0, len(seeds), size)]
    done = 0
    others = set(multiprocessing.active_children())
    pool = worker_pool(workers, _start_worker, build, seconds)
    try:
        for outcomes in pool.map(_work, chunks):
            check()
            yield from outcomes
            done += 1
        pool.shutdown()
    except BrokenProcessPool:
        pool.shutdown()
        # The cause is a script without `if __name__ == '__main__'`, or a worker killed for lack of memory.
        log.warning("the worker processes ended early; continuing in this process")
        yield from _here(build, [seed for chunk in chunks[done:] for seed in chunk], seconds)
    except BaseException:
        # After an interrupt, or if the caller needs no more results, the workers are ended without waiting for their current seeds.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
