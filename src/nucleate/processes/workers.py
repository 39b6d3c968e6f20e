"""Worker processes that end with the process that started them, together with all programs that they started.

`become_worker` is the initializer of a process pool. It forks each process of the pool into a watcher (the parent) and a worker (the
child). The watcher kills the worker and every program that the worker started (`mpirun`, `pw.x`) when the leader, which is the process
that made the pool, has ended, when the watcher receives SIGTERM or SIGHUP, or when the worker has ended. The module imports only the
standard library at its top level, so that the watcher starts within milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POLL = 0.1
"""Seconds between two checks whether the leader is alive. The kernel's parent-death signal is not used for the leader, because it is also
sent when only the thread that started the worker ends."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MARK = "NUCLEATE_STARTED_BY"
"""Environment variable that marks the programs started by a process, so that they can be identified in any session."""
BEFORE = "NUCLEATE_ENVIRONMENT_BEFORE"
"""Environment variable of the template: JSON of the variables that were changed for its start, with their former values."""


def become_worker(leader: int) -> None:
    """Initializer of process pools: start the watcher, limit the worker to one thread, and ignore interrupts.

    What the worker prints on standard output goes to standard error, because the leader's output may be read by another program.

    Args:
        leader: process id of the process that made the pool.
    """
    if os.name == "posix":
        _split(leader)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    limit_threads()
    # Only the leader handles interrupts; workers end when it closes the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Context that blocks interrupts; processes started inside begin with them blocked, and this process receives them at the end.

    A terminal sends SIGINT to all processes of its foreground group, new workers included.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def limit_threads() -> None:
    """Limit this process to one thread: two busy processes with OpenMP's defaults ran 20 to 40 times slower."""
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    # Libraries that are already loaded do not read the variables again, so their thread counts are set directly.
    with contextlib.suppress(ImportError):
        from threadpoolctl import threadpool_limits

        threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def end_worker(watcher: int) -> None:
    """End a worker and all programs that it started, given the process id of its watcher."""
    if watcher not in (os.getpid(), 1):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(watcher, signal.SIGTERM)


def end_remains(watcher: int) -> None:
    """End the programs left by a lost worker of this process whose watcher was killed before it could end them."""
    _end_marked(f"{os.getpid()}.{watcher}")


@contextlib.contextmanager
def output_apart() -> Iterator[None]:
    """Context in which standard output goes to standard error, for engines that print in the process of the leader.

    Use it in the main thread only: it changes the file descriptors of the process.
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:
        yield
        return
    try:
        with contextlib.redirect_stdout(sys.stderr):
            os.dup2(2, 1)
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def engines_end_with_failure() -> Iterator[None]:
    """Context that kills all programs started inside it when it is left by an exception, such as an interrupt or a time limit.

    Use it in the main thread only: it sets an environment variable of the process.
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
    """Kill all processes whose environment contains the mark, and wait up to `patience` seconds until they are gone."""
    sought = f"{MARK}={mark}".encode()
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        marked = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                lines = path.read_bytes().split(b"\0")
                if int(path.parent.name) != os.getpid() and any(line == sought or line.startswith(sought + b"/") for line in lines):
                    marked.append(int(path.parent.name))
        if not marked:
            return
        for pid in marked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


class _End(BaseException):
    """Raised in the watcher by SIGTERM or SIGHUP."""


_ending = False


def _split(leader: int) -> None:
    """Fork into watcher and worker; the function returns only in the worker."""
    global _ending
    with contextlib.suppress(OSError):
        # A session of its own keeps Ctrl-C in the terminal from reaching the worker.
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
        ended = _end_of(leader)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = _watch(ended, child)
        _ending = True
    except _End:
        pass
    finally:
        if not Path("/proc/self/stat").exists():
            # Without /proc the descendants cannot be listed, so only the worker itself is killed.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        end_descendants()
        os._exit(code)


def _end(number: int, frame: FrameType | None) -> None:
    """Raise `_End` at the first signal only (signal handler)."""
    global _ending
    # Dispatcher and pool may both send a signal; the second one must not interrupt the clean-up that the first one started.
    if not _ending:
        _ending = True
        raise _End


def _keep_to_itself() -> None:
    """Make open file descriptors not inheritable: an engine that holds the pool's pipes would hide the end of its worker."""
    for path in Path("/proc/self/fd").glob("[0-9]*"):
        if int(path.name) > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(int(path.name), False)


def _end_of(leader: int) -> Callable[[], bool]:
    """Return a function that tells whether the leader or the parent of this process, which may be another, has ended."""
    parent = os.getppid()
    if parent == leader:
        return lambda: os.getppid() != parent
    try:
        file = os.pidfd_open(leader)
    except ProcessLookupError:
        return lambda: True
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return lambda: os.getppid() != parent or bool(poll.poll(0))


def _watch(ended: Callable[[], bool], child: int) -> int:
    """Wait until the worker or the leader ends, reap other children, and return the exit code of the worker (1 if the leader ended)."""
    while not ended():
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status) & 0xFF
        if pid == 0:
            time.sleep(POLL)
    return 1


def end_descendants(patience: float = 5.0) -> None:
    """Kill all descendants of this process, in whatever process group, and wait up to `patience` seconds until they are gone."""
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
    """Return the ids of all descendants of a process, read from /proc."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children[parent].append(int(path.parent.name))
    descendants, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        descendants += below
        queue += below
    return descendants


def _prctl(option: int, value: int) -> None:
    """Call prctl(2) on Linux; do nothing on other systems."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, int(value), 0, 0, 0)
