"""Labels in blocks that may be lost at any moment: each is written whole by its worker, and repeated, counted, if its worker is lost."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.errors import NucleateError, ReferenceFailed, quoted
from nucleate.reference.base import Label, Reference, said
from nucleate.reference.cluster.blocks import note_label
from nucleate.reference.cluster.executor import SETTLING, BlockExecutor
from nucleate.reference.cluster.worker import compute
from nucleate.reference.spool import kept_answer

LOST = ("ManagerLost", "WorkerLost")
"""Parsl's exceptions for a block and for a worker that are gone."""


def label_in_blocks(
    executor: BlockExecutor,
    reference: Reference,
    tasks: dict[str, Atoms],
    timeout: float | None,
    spool: Path | None,
    begin: Callable[[str, Atoms], int],
    finish: Callable[[str, object, float], None],
    save: Callable[[str, object, float], None],
) -> None:
    """Label structures side by side in blocks.

    Args:
        executor: executor of the run.
        reference: method that labels structures.
        tasks: structures by the hashes of their calculations.
        timeout: time limit of one calculation, s.
        spool: folder into which workers write finished labels; None: they do not.
        begin: called each time that a calculation is handed out, also when it is repeated; returns how many times it was, earlier
            processes included.
        finish: called with hash, answer and wall time of each calculation.
        save: called in its place, and must not wait, for answers that have arrived when this function ends with an exception.

    Raises:
        NucleateError: blocks cannot be submitted, end before a worker reports, or lack a part of the environment.
    """
    pending: dict[Future[Any], str] = {}
    attempts: dict[str, int] = {}

    def start(key: str) -> None:
        attempts[key] = begin(key, tasks[key])
        pending[executor.submit(compute, reference, tasks[key], timeout, key, spool, executor.ranks)] = key

    try:
        for key in tasks:
            start(key)
        while pending:
            done, _ = wait(pending, timeout=SETTLING, return_when=FIRST_COMPLETED)
            if not done:
                executor.check()
            for future in done:
                key = pending[future]
                answer = _answer(executor, future, key, spool, attempts[key])
                if answer is None:
                    del pending[future]
                    start(key)
                    continue
                finish(key, *answer)
                del pending[future]
                note_label(executor.folder, answer[1])
    except BaseException:
        # Answers that have arrived are paid, and this node may be the only one that sees them.
        for future, key in pending.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                with suppress(Exception):
                    save(key, *future.result())
                    note_label(executor.folder, future.result()[1])
        raise


def _is_lost(future: Future[Any]) -> bool:
    return type(future.exception()).__name__ in LOST


def _answer(
    executor: BlockExecutor, future: Future[Any], key: str, spool: Path | None, attempts: int
) -> tuple[Label | ReferenceFailed, float] | None:
    """Return answer and wall time (s) of a calculation that has ended; None if it must be handed out again."""
    error = future.exception()
    if error is None:
        answer: tuple[Label | ReferenceFailed, float] = future.result()
        return answer
    # The label may have been written before its worker or the way back was lost.
    written = None if spool is None else kept_answer(spool, key)
    if written is not None:
        return written
    if _is_lost(future):
        if attempts < executor.attempts:
            return None
        reason = f"the worker or its block was lost {attempts} times (out of memory, or a wall time too short?)"
        # Nobody knows how long it has run; the time in the queue is no cost of it.
        return ReferenceFailed(reason), 0.0
    if isinstance(error, NucleateError):
        raise error
    # `compute` raises no other exception, so the worker could not even begin: every label would end in this way.
    raise NucleateError(
        f"{executor.source}: a worker cannot compute labels ({quoted(said(error), 200)}); block.setup must make the same nucleate and "
        "Parsl available on the nodes"
    ) from error
