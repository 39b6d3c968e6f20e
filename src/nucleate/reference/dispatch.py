"""Dispatch of reference calculations to worker processes, with answers from the ledger where they exist."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from typing import Any

from ase import Atoms

from nucleate.errors import BadInput, BudgetExhausted, NucleateError, ReferenceFailed, quoted
from nucleate.processes.interrupts import check, listening
from nucleate.processes.limits import OutOfTime, time_limit
from nucleate.processes.workers import become_worker, end_remains, end_worker, engines_end_with_failure, interrupts_held
from nucleate.reference.base import Label, Reference, checked_answer, content_hash, said, with_k_points
from nucleate.reference.ledger import RETRY, Ledger

Answer = Label | ReferenceFailed
STARTING = 300.0
"""Seconds that a worker process may take to begin."""
FALSE_STARTS = 3
"""Workers that may die one after the other as they begin, once others have begun: somebody kills them, or memory is short."""


def ask(reference: Reference, atoms: Atoms, timeout: float | None) -> tuple[Answer, float]:
    """Run one calculation in this process; return the label or failure, and the wall time in seconds.

    The time limit interrupts Python code in a main thread alone; local workers are watched from outside instead.
    """
    started = time.monotonic()
    answer: object
    try:
        if threading.current_thread() is threading.main_thread():
            with listening(), engines_end_with_failure(), time_limit(timeout):
                answer = reference.label(atoms.copy())
        else:
            answer = reference.label(atoms.copy())
    except OutOfTime:
        answer = _overrun(timeout)
    except ReferenceFailed as failure:
        # Of an interrupt that the engine took for trouble of its own no failure is made.
        check()
        answer = failure
    except NucleateError:
        raise
    except BaseException as error:  # calculators raise exceptions of every kind, and some end the program with sys.exit()
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
        check()
        answer = ReferenceFailed(said(error))
    return checked_answer(answer, atoms), time.monotonic() - started


def _overrun(timeout: float | None) -> ReferenceFailed:
    return ReferenceFailed(f"stopped after the time limit of {timeout:g} s", kind="timeout")


def _ready(reference: Reference) -> int:
    """First call of a worker, by which it has loaded the reference's modules: the process that watches it, its parent."""
    return os.getppid()


class _Slot:
    """One worker process and the call it is busy with; a lost worker or an overrun touches no other."""

    def __init__(self, reference: Reference) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=become_worker, initargs=(os.getpid(),))
        self.task: tuple[str, Atoms] | None = None
        self.deadline = time.monotonic() + STARTING
        self.began = time.monotonic()
        with interrupts_held():
            self.future: Future[Any] | None = self._pool.submit(_ready, reference)
        # The pool's own process becomes the watching half. Where the pool does not tell, the worker will.
        self.watcher: int | None = next(iter(getattr(self._pool, "_processes", None) or ()), None)

    def give(self, task: tuple[str, Atoms], reference: Reference, timeout: float | None) -> None:
        """Raises `BrokenExecutor` if the worker has died while it was idle."""
        # No time limit inside: the leader keeps the time, and ends the worker with every engine that it started.
        self.future = self._pool.submit(ask, reference, task[1], None)
        self.task = task
        self.began = time.monotonic()
        self.deadline = float("inf") if timeout is None else self.began + timeout

    def end(self) -> None:
        """At once if it is busy; an idle worker leaves by itself."""
        if self.future is not None and not self.future.done() and self.watcher is not None:
            end_worker(self.watcher)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def clear_up(self) -> None:
        """After its worker died: end what it left behind."""
        if self.watcher is not None:
            end_remains(self.watcher)
        self._pool.shutdown(wait=False, cancel_futures=True)


class Dispatcher:
    """Runs reference calculations, records them in the ledger, and answers repeated ones from it.

    Args:
        reference: what to ask.
        ledger: the record.
        workers: processes; 0 asks in this process, whose engines then end with an interrupt or at the time limit, but outlive its being
            killed by `kill -9`.
        executor: any `concurrent.futures.Executor`, in place of local processes; it is not closed here.
        timeout: seconds for one calculation. Local workers that overrun it are ended with all they started. In this process (workers 0)
            and on an executor it can interrupt Python code alone: there the queue's own limit is the one that holds.
        budget: hard limit on the ledger's number of rows.

    Raises:
        BadInput: the reference does not keep the contract.
    """

    def __init__(
        self,
        reference: Reference,
        ledger: Ledger,
        workers: int = 0,
        executor: Executor | None = None,
        timeout: float | None = None,
        budget: int | None = None,
    ):
        if not isinstance(reference, Reference):
            needed = "name, surrogate, settings(), k_points(atoms) and label(atoms)"
            raise BadInput(f"{type(reference).__name__} is no reference: it needs {needed}")
        self.reference = reference
        self.ledger = ledger
        self.workers = workers
        self.timeout = timeout
        self.budget = budget
        self._settings = reference.settings()
        self._given = executor
        self._slots: list[_Slot] = []
        self._began, self._false_starts = False, 0
        self._settled: set[str] | None = None
        self._asked: set[str] = set()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        for slot in self._slots:
            slot.end()
        self._slots = []

    def begin_round(self, round: int) -> None:
        """Count calls as they stood before this round, plus those asked from now on.

        A round that was killed half way leaves rows behind. Repeating it must decide as if they were not there yet, though they
        are answered from the ledger.
        """
        self._settled = self.ledger.hashes_before(round)
        self._asked = set()

    def calls(self) -> int:
        """Number of calls so far."""
        return self.ledger.count() if self._settled is None else len(self._settled) + len(self._asked)

    def remaining(self) -> int | None:
        """Number of calls left in the budget; None without a budget."""
        return None if self.budget is None else max(0, self.budget - self.calls())

    def label_many(
        self,
        structures: Sequence[Atoms],
        purpose: str,
        round: int,
        on_done: Callable[[int, Answer], None] | None = None,
        like: Sequence[Atoms | None] | None = None,
    ) -> list[Answer]:
        """Label structures; return a `Label` or `ReferenceFailed` for each, in order.

        Args:
            structures: what to ask; the same structure twice is asked once.
            purpose: why, for the ledger.
            round: of the search.
            on_done: called with (index, answer) as answers arrive.
            like: for each structure the one whose k-points it is calculated with, on the same lattice vectors but for a strain: the first
                of its relaxation. None, or None for one: its own.

        Raises:
            BudgetExhausted: the questions would exceed the budget; nothing was asked.
        """
        like = [None] * len(structures) if like is None else like
        structures = [with_k_points(atoms, self.reference, first) for atoms, first in zip(structures, like, strict=True)]
        keys = [content_hash(atoms, self._settings) for atoms in structures]
        answers: dict[str, Answer] = {}
        to_ask: dict[str, Atoms] = {}
        new = 0
        for key, atoms in zip(keys, structures, strict=True):
            if key in answers or key in to_ask:
                continue
            row = self.ledger.lookup(key)
            if row is not None and row.status not in RETRY:
                answers[key] = row.answer()
            else:
                to_ask[key] = atoms
            new += row is None if self._settled is None else key not in self._settled | self._asked
        left = self.remaining()
        if left is not None and new > left:
            raise BudgetExhausted(f"{new} more reference calls would exceed the budget of {self.budget} ({left} left)")
        if self._settled is not None:
            self._asked |= set(keys) - self._settled
        indices = {key: k for k, key in reversed(list(enumerate(keys)))}

        def finish(key: str, answer: object, wall: float) -> None:
            checked = checked_answer(answer, to_ask[key])
            self.ledger.keep(key, checked, wall)
            answers[key] = checked
            if on_done is not None:
                on_done(indices[key], checked)

        if self.workers == 0 and self._given is None:
            for key, atoms in to_ask.items():
                self._begin(key, atoms, purpose, round)
                finish(key, *ask(self.reference, atoms, self.timeout))
        elif self._given is not None:
            self._on_executor(self._given, to_ask, purpose, round, finish)
        else:
            self._on_slots(to_ask, purpose, round, finish)
        return [answers[key] for key in keys]

    def _begin(self, key: str, atoms: Atoms, purpose: str, round: int) -> None:
        self.ledger.begin(key, atoms, self.reference.name, self._settings, purpose, round)

    def _on_slots(self, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]) -> None:
        """Each worker has one call at a time: what has not begun is neither lost with a worker nor computed after the leader's end."""
        waiting = deque(to_ask.items())
        lost: set[str] = set()
        try:
            while waiting or any(slot.task for slot in self._slots):
                while len(self._slots) < min(self.workers, len(waiting) + sum(slot.task is not None for slot in self._slots)):
                    self._slots.append(_Slot(self.reference))
                for slot in list(self._slots):
                    if slot.future is None and waiting:
                        key, atoms = waiting[0]
                        self._begin(key, atoms, purpose, round)
                        try:
                            slot.give((key, atoms), self.reference, self.timeout)
                        except BrokenExecutor:
                            # It died while it was idle: nothing was asked of it.
                            self._replace(slot)
                            continue
                        waiting.popleft()
                if any(slot.future is not None for slot in self._slots):
                    self._await(waiting, lost, finish)
        except BaseException:
            self._save_answers()
            self.close()
            raise

    def _save_answers(self) -> None:
        """Before all workers are ended: what has been computed is recorded."""
        for slot in self._slots:
            if slot.future is not None and slot.task is not None and slot.future.done():
                key, atoms = slot.task
                with suppress(Exception):
                    answer, wall = slot.future.result()
                    self.ledger.keep(key, checked_answer(answer, atoms), wall, patience=())

    def _await(self, waiting: deque[tuple[str, Atoms]], lost: set[str], finish: Callable[[str, object, float], None]) -> None:
        """Until a worker has something to say or has overrun its time."""
        busy = {slot.future: slot for slot in self._slots if slot.future is not None}
        left = min(slot.deadline for slot in busy.values()) - time.monotonic()
        done, _ = wait(busy, timeout=None if left == float("inf") else max(0.0, left), return_when=FIRST_COMPLETED)
        now = time.monotonic()
        for slot in list(busy.values()):
            assert slot.future is not None
            if slot.future in done:
                self._hear(slot, waiting, lost, finish)
            elif now > slot.deadline:
                task = slot.task
                self._replace(slot)
                if task is None:
                    raise NucleateError(f"a worker process did not begin within {STARTING:g} s; set reference.workers to 0")
                finish(task[0], _overrun(self.timeout), now - slot.began)

    def _hear(self, slot: _Slot, waiting: deque[tuple[str, Atoms]], lost: set[str], finish: Callable[[str, object, float], None]) -> None:
        assert slot.future is not None
        task = slot.task
        try:
            result = slot.future.result()
        except NucleateError:
            raise
        except BrokenExecutor as error:
            slot.clear_up()
            self._slots.remove(slot)
            if task is None:
                self._false_starts += 1
                if self._began and self._false_starts <= FALSE_STARTS:
                    return
                raise NucleateError(
                    f"worker processes cannot start ({error}); guard a script with if __name__ == '__main__', or set reference.workers to 0"
                ) from error
            if task[0] in lost:
                finish(task[0], ReferenceFailed("the worker process died twice (out of memory?)"), time.monotonic() - slot.began)
            else:
                # Somebody may have killed it: the call is tried once more, and alone is what it costs.
                lost.add(task[0])
                waiting.append(task)
            return
        except Exception as error:  # an answer that could not be sent back, or a reference that could not be sent there
            if task is None:
                raise NucleateError(
                    f"{self.reference.name} cannot be sent to worker processes ({quoted(said(error))}); set reference.workers to 0"
                ) from error
            result = ReferenceFailed(said(error), kind="invalid"), time.monotonic() - slot.began
        if task is None:
            slot.watcher = result
            self._began, self._false_starts = True, 0
        else:
            finish(task[0], *result)
        slot.future = slot.task = None

    def _replace(self, slot: _Slot) -> None:
        slot.end()
        self._slots.remove(slot)

    def _on_executor(
        self, executor: Executor, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]
    ) -> None:
        for key, atoms in to_ask.items():
            self._begin(key, atoms, purpose, round)
        suspects = self._run(executor, list(to_ask.items()), finish)
        # A dead worker may take other unfinished tasks of an executor with it: each is tried alone to find the culprit.
        for key, atoms in suspects:
            started = time.monotonic()
            if self._run(executor, [(key, atoms)], finish):
                finish(key, ReferenceFailed("the worker process died (out of memory?)"), time.monotonic() - started)

    def _run(
        self, executor: Executor, tasks: list[tuple[str, Atoms]], finish: Callable[[str, object, float], None]
    ) -> list[tuple[str, Atoms]]:
        """Run tasks; returns those whose worker died."""
        pending: dict[Future[Any], tuple[str, Atoms]] = {}
        lost: list[tuple[str, Atoms]] = []
        try:
            for key, atoms in tasks:
                try:
                    pending[executor.submit(ask, self.reference, atoms, self.timeout)] = (key, atoms)
                except BrokenExecutor as error:
                    raise NucleateError(
                        f"the executor given is broken and takes no more work ({error}); start a new one and resume"
                    ) from error
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    key, atoms = pending.pop(future)
                    try:
                        answer, wall = future.result()
                    except NucleateError:
                        raise
                    except Exception:
                        # `ask` lets no other exception out: this one tells of a worker lost, each executor with a message of its own.
                        lost.append((key, atoms))
                        continue
                    finish(key, answer, wall)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
        return lost
