"""Labels in blocks that may be lost at any moment: each is written whole by its worker, and repeated, counted, if its worker is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.errors import NucleateError, ReferenceFailed, quoted
from nucleate.reference.base import Reference, said
from nucleate.reference.cluster.executor import SETTLING, ClusterExecutor
from nucleate.reference.cluster.worker import compute
from nucleate.reference.spool import kept_answer

LOST = ("ManagerLost", "WorkerLost")
"""Parsl's exceptions for a block and for a worker that are gone."""


def label_in_blocks(
    executor: ClusterExecutor,
    reference: Reference,
    tasks: dict[str, Atoms],
    timeout: float | None,
    spool: Path | None,
    begin: Callable[[str, Atoms], None],
    finish: Callable[[str, object, float], None],
) -> None:
    """Label structures side by side in blocks.

    Args:
        executor: executor of the run.
        reference: method that labels structures.
        tasks: structures by the hashes of their calculations.
        timeout: time limit of one calculation, s.
        spool: folder into which workers write finished labels; None: they do not.
        begin: called each time that a calculation is started, also when it is repeated.
        finish: called with hash, answer and wall time of each calculation.

    Raises:
        NucleateError: blocks cannot be submitted, end before a worker reports, or lack a part of the environment.
    """
    pending: dict[Future[Any], str] = {}
    attempts = dict.fromkeys(tasks, 0)
    began = time.monotonic()

    def start(key: str) -> None:
        attempts[key] += 1
        begin(key, tasks[key])
        pending[executor.submit(compute, reference, tasks[key], timeout, key, spool, executor.ranks)] = key

    for key in tasks:
        start(key)
    while pending:
        done, _ = wait(pending, timeout=SETTLING, return_when=FIRST_COMPLETED)
        if not done:
            executor.check()
        for future in done:
            key = pending.pop(future)
            error = future.exception()
            if error is None:
                finish(key, *future.result())
                continue
            # The label may have been written before its worker or the way back was lost.
            written = None if spool is None else kept_answer(spool, key)
            if written is not None:
                finish(key, *written)
            elif type(error).__name__ in LOST:
                if attempts[key] < executor.attempts:
                    start(key)
                else:
                    reason = f"the worker or its block was lost {attempts[key]} times (out of memory, or a wall time too short?)"
                    finish(key, ReferenceFailed(reason), time.monotonic() - began)
            elif isinstance(error, NucleateError):
                raise error
            else:
                # `compute` raises no other exception, so the worker could not even begin: every label would end in this way.
                raise NucleateError(
                    f"{executor.source}: a worker cannot compute labels ({quoted(said(error), 200)}); block.setup must make the same "
                    "nucleate and Parsl available on the nodes"
                ) from error
