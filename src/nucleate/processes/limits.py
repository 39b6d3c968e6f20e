"""Time limits of Python code, and the number of cores."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """The time limit is over; not an `Exception`, because code that catches every exception must not swallow it."""


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` in the block after a time, and only there; None: there is no limit.

    It interrupts Python code, in the main thread alone. An alarm of the caller, such as that of pytest-timeout, is set again afterwards
    with the time that it has left.
    """
    with _limit(seconds, signal.ITIMER_REAL, signal.SIGALRM, time.monotonic):
        yield


@contextmanager
def processor_time_limit(seconds: float | None) -> Iterator[None]:
    """Raise `OutOfTime` in the block after this process has computed for a time, as `time_limit` does.

    What is stopped by this limit does not depend on the load of the machine.
    """
    with _limit(seconds, signal.ITIMER_PROF, signal.SIGPROF, time.process_time):
        yield


@contextmanager
def _limit(seconds: float | None, timer: int, alarm: signal.Signals, clock: Callable[[], float]) -> Iterator[None]:
    if seconds is None:
        yield
        return
    running = True

    def ring(number: int, frame: FrameType | None) -> None:
        # An interrupt may end the block before the alarm is switched off: it must not be followed by this.
        if running:
            raise OutOfTime

    began = clock()
    outer, interval = signal.setitimer(timer, 0)
    previous = signal.signal(alarm, ring)
    try:
        try:
            # Again every second: some engines pass over the first.
            signal.setitimer(timer, seconds, 1.0)
            yield
        finally:
            # The alarm may go off on this very line; the next one is a second away.
            running = False
    finally:
        running = False
        signal.setitimer(timer, 0)
        signal.signal(alarm, previous)
        if outer:
            left = outer - (clock() - began)
            signal.setitimer(timer, left if left > 0 else interval, interval)
            if left <= 0:
                # At once: another block may follow before a timer goes off, and the caller's alarm would never come.
                signal.raise_signal(alarm)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
