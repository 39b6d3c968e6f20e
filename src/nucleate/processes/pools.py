"""Pools of worker processes that start quickly.

Importing torch takes a second of processor time. On Linux workers are therefore forked from one process that has imported numpy and torch
and nothing else (`template.py`), by the method `forkserver` of `multiprocessing`. The process of the caller itself is never forked, because
forking a process with threads (torch, BLAS) can deadlock. Elsewhere every worker is spawned.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from nucleate.errors import NucleateError, quoted
from nucleate.processes.interrupts import interrupts_delayed
from nucleate.processes.workers import BEFORE, MARK, THREAD_VARIABLES, become_worker, interrupts_held

TEMPLATE = "nucleate.processes.template"
_starting = threading.Lock()


def worker_pool(workers: int, initializer: Callable[..., None] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Return a pool whose processes are workers, as of `become_worker`, of this process.

    Args:
        workers: Number of processes.
        initializer: Function of a module, called once in each worker.
        arguments: Its arguments.

    Raises:
        NucleateError: The system cannot give the processes what they share.
    """
    given: tuple[Any, ...] = (os.getpid(), _Environment(), initializer, arguments)
    try:
        return _Pool(workers, mp_context=_context(), initializer=_begin, initargs=given)
    except (OSError, ImportError) as error:
        reason = quoted(getattr(error, "strerror", None) or str(error))
        # Other errors, such as too many open files, have nothing to do with the folder.
        without = isinstance(error, ImportError) or error.errno in (errno.EACCES, errno.ENOENT, errno.ENOSPC, errno.ENOSYS, errno.EROFS)
        hint = "; they need a folder /dev/shm that can be written" if without else ""
        raise NucleateError(f"worker processes cannot be started ({reason}){hint}") from error


class _Pool(ProcessPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        # A call may start a process, which must be known to the pool before an interrupt ends the caller.
        with interrupts_delayed(), interrupts_held():
            return super().submit(fn, *args, **kwargs)

    def _spawn_process(self) -> None:
        try:
            super()._spawn_process()  # type: ignore[misc]
        except (OSError, EOFError):
            # The template was killed, or the folder of its socket was removed.
            self._mp_context = multiprocessing.get_context("spawn")
            super()._spawn_process()  # type: ignore[misc]


class _Environment:
    """Stands for the environment variables of this process; a worker receives them as a dictionary, as they are when it starts."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(os.environ),)


def _begin(leader: int, environment: dict[str, str], initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Make this process a worker, with what it would have inherited from its leader now; a forked one has older values."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    if sys.platform == "linux":
        with suppress(OSError, ValueError, StopIteration):
            os.sched_setaffinity(0, os.sched_getaffinity(leader))
            status = Path(f"/proc/{leader}/status").read_text().splitlines()
            os.umask(int(next(line.split()[1] for line in status if line.startswith("Umask:")), 8))
    become_worker(leader)
    if initializer is not None:
        initializer(*arguments)


def _context() -> BaseContext:
    """Return the context of processes: forked from the template if that can be started, else spawned."""
    if sys.platform == "linux" and _processes_can_be_watched():
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        # The path of its socket may be too long, for instance.
        with suppress(OSError), _starting, _environment_of_template():
            # The tracker would be started with the template otherwise, and end the hold of interrupts.
            resource_tracker.ensure_running()
            with interrupts_delayed(), interrupts_held():
                # Without effect if the caller's program already forks processes in this way; then workers import what they need.
                context.set_forkserver_preload([TEMPLATE, *(["torch"] if "torch" in sys.modules else [])])
                forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


@contextmanager
def _environment_of_template() -> Iterator[None]:
    """Change the environment for a process that starts now: it imports the modules of this one, not those of the current folder.

    Libraries of linear algebra start no threads in it, and no block of engines ends it, as `engines_end_with_failure` would.
    """
    changes = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONSAFEPATH": "1", MARK: None,
        **dict.fromkeys(THREAD_VARIABLES, "1"),
    }  # fmt: skip
    before = {name: os.environ.get(name) for name in changes}
    kept = {name: value for name, value in before.items() if name != MARK}
    _set({**changes, BEFORE: json.dumps(kept)})
    try:
        yield
    finally:
        _set({**before, BEFORE: None})


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _processes_can_be_watched() -> bool:
    """Whether the kernel tells a process about the end of one that is not its parent: a worker's parent is the template."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
