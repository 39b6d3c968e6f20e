"""Pools of worker processes that start quickly.

Importing torch takes a second of processor time. On Linux workers are therefore forked from one process that has imported numpy and torch
and nothing else (`template.py`), by the method `forkserver` of `multiprocessing`. The process of the caller itself is never forked, because
forking a process with threads (torch, BLAS) can deadlock. Elsewhere every worker is spawned.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.context import BaseContext
from typing import Any

from nucleate.processes.workers import become_worker, interrupts_held

TEMPLATE = "nucleate.processes.template"


def worker_pool(workers: int, initializer: Callable[..., None] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Return a pool whose processes are workers, as of `become_worker`, of this process.

    Args:
        workers: Number of processes.
        initializer: Function of a module, called once in each worker.
        arguments: Its arguments.
    """
    given: tuple[Any, ...] = (os.getpid(), _Environment(), initializer, arguments)
    return ProcessPoolExecutor(workers, mp_context=_context(), initializer=_begin, initargs=given)


class _Environment:
    """Stands for the environment variables of this process; a worker receives them as a dictionary, as they are when it starts."""

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(os.environ),)


def _begin(leader: int, environment: dict[str, str], initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    """Make this process a worker with the environment of its leader; that of a forked one is older."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    become_worker(leader)
    if initializer is not None:
        initializer(*arguments)


def _context() -> BaseContext:
    """Return the context of processes: forked from the template if that can be started, else spawned."""
    if sys.platform == "linux" and _processes_can_be_watched():
        from multiprocessing import forkserver

        context = multiprocessing.get_context("forkserver")
        # Without effect if the caller's program already forks its own processes in this way; then workers import what they need.
        context.set_forkserver_preload([TEMPLATE, *(["torch"] if "torch" in sys.modules else [])])
        # The path of its socket may be too long, for instance.
        with suppress(OSError), interrupts_held():
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _processes_can_be_watched() -> bool:
    """Whether the kernel tells a process about the end of one that is not its parent: a worker's parent is the template."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
