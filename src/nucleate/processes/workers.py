"""Worker processes that end with their leader, together with the programs they started.

A process pool calls `become_worker` first thing in each of its processes. There the process splits in two: one half watches, the other
works. The watching half ends the working one, and every engine that it started (`mpirun`, `pw.x`), when the leader is gone, when it is
told to, or when the working half dies. This module imports nothing heavy, so that the watch begins within milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POLL = 0.1
"""Seconds between two looks at the leader: the kernel's own signal would come at the death of a mere thread, too."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MARK = "NUCLEATE_STARTED_BY"
"""Environment variable by which the programs that a process has started are found again, whatever session they moved to."""


def become_worker(leader: int) -> None:
    """Initializer of process pools: the watch, one thread, and interrupts left to the leader.

    Args:
        leader: process id of the process that made the pool.
    """
    if os.name == "posix":
        _split(leader)
    limit_threads()
    # An interrupt is for the process that leads; workers end when it closes the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes that are started inside begin deaf to interrupts, which a terminal sends to them as well; this process is told after it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def limit_threads() -> None:
    """One thread a worker: two busy processes with OpenMP's defaults ran 20-40 times slower."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    # Libraries that are loaded by now have read their thread count: the running ones are told too.
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def end_worker(watcher: int) -> None:
    """End the worker, and all that it started, by the process id of the half that watches it (the worker's parent)."""
    if watcher not in (os.getpid(), 1):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(watcher, signal.SIGTERM)


def end_remains(watcher: int) -> None:
    """After a worker of this process was lost: end programs that it started, should the watching half have been killed before them."""
    _end_marked(f"{os.getpid()}.{watcher}")


@contextlib.contextmanager
def engines_end_with_failure() -> Iterator[None]:
    """A block that is left by an exception (an interrupt, a time limit) ends all programs that were started inside.

    For the main thread: the environment is the process's own.
    """
    outer = os.environ.get(MARK)
    mark = f"{outer or os.getpid()}/{next(_blocks)}"
    os.environ[MARK] = mark
    try:
        yield
    except BaseException:
        _end_marked(mark)
        raise
    finally:
        if outer is None:
            os.environ.pop(MARK, None)
        else:
            os.environ[MARK] = outer


_blocks = itertools.count()


def _end_marked(mark: str, patience: float = 5.0) -> None:
    sought = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                lines = path.read_bytes().split(b"\0")
                if int(path.parent.name) != os.getpid() and any(line == sought or line.startswith(sought + b"/") for line in lines):
                    found.append(int(path.parent.name))
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


class _End(BaseException):
    """The watch is over."""


_ending = False


def _split(leader: int) -> None:
    """Returns in the working half alone."""
    global _ending
    with contextlib.suppress(OSError):
        # Out of the terminal's group: Ctrl-C is the leader's.
        os.setsid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    watcher = os.getpid()
    child = os.fork()
    if child == 0:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != watcher:
            os._exit(1)
        os.environ[MARK] = f"{leader}.{watcher}"
        _keep_to_itself()
        return
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = _watch(leader, child)
        _ending = True
    except _End:
        pass
    finally:
        if not Path("/proc/self/stat").exists():
            # No way to find what the worker started: the worker at least.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        end_descendants()
        os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    global _ending
    # Told twice, by the dispatcher and by the pool: the second word must not stop what the first began.
    if not _ending:
        _ending = True
        raise _End


def _keep_to_itself() -> None:
    """Engines do not inherit the pool's pipes: one that outlived its worker would hide the worker's death from the leader."""
    for path in Path("/proc/self/fd").glob("[0-9]*"):
        if int(path.name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(path.name), False)


def _watch(leader: int, child: int) -> int:
    """Exit code of the working half; reaps what else ends under it."""
    while os.getppid() == leader:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF
        if pid == 0:
            time.sleep(POLL)
    return 1


def end_descendants(patience: float = 5.0) -> None:
    """Kill every process below this one, however often it forked or changed its group; wait until they are gone."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        below = _descendants(os.getpid())
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children[parent].append(int(path.parent.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)
