"""Put many questions to a reference: from the ledger where it knows, by worker processes where not."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from types import FrameType

from ase import Atoms

from nucleate.errors import BudgetExhausted, NucleateError, ReferenceFailed
from nucleate.reference.base import Label, Reference, content_hash
from nucleate.reference.ledger import RETRY, Ledger

Answer = Label | ReferenceFailed


class _OutOfTime(BaseException):
    """Not an `Exception`: an engine that catches everything must not swallow it."""


def ask(reference: Reference, atoms: Atoms, timeout: float | None) -> tuple[Answer, float]:
    """One question, in whatever process this runs: the answer or failure, and wall seconds."""
    started = time.monotonic()
    in_main = threading.current_thread() is threading.main_thread()

    def out_of_time(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    answer: Answer
    previous = None
    try:
        if timeout is not None and in_main:
            previous = signal.signal(signal.SIGALRM, out_of_time)
            signal.setitimer(signal.ITIMER_REAL, timeout)
        answer = reference.label(atoms)
    except _OutOfTime:
        answer = ReferenceFailed(f"stopped after the time limit of {timeout:g} s", kind="timeout")
    except ReferenceFailed as failure:
        answer = ReferenceFailed(failure.reason, kind=failure.kind)
    except NucleateError:
        raise
    except Exception as error:
        answer = ReferenceFailed(f"{type(error).__name__}: {error}")
    finally:
        if previous is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    return answer, time.monotonic() - started


def limit_threads() -> None:
    """One thread a worker: two busy processes with OpenMP's defaults ran 20-40 times slower."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    import torch

    torch.set_num_threads(1)
    if sys.platform == "linux":
        # A killed leader cannot close its pool; without this its workers would compute on, unheard (PR_SET_PDEATHSIG).
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    # An interrupt is for the process that leads; workers end when it closes the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Dispatcher:
    """Asks a reference, records every call in the ledger, and answers repeated questions from it.

    Args:
        reference: what to ask.
        ledger: the record.
        workers: processes; 0 asks in this process.
        executor: any `concurrent.futures.Executor`, in place of local processes; it is not closed here.
        timeout: seconds for one calculation.
        budget: hard limit on the ledger's number of rows.
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
        self.reference = reference
        self.ledger = ledger
        self.workers = workers
        self.timeout = timeout
        self.budget = budget
        self._settings = reference.settings()
        self._given = executor
        self._own: ProcessPoolExecutor | None = None
        self._settled: set[str] | None = None
        self._asked: set[str] = set()

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes."""
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)
            self._own = None

    def begin_round(self, round: int) -> None:
        """Count calls as they stood before this round, plus those asked from now on.

        A round that was killed half way leaves rows behind. Repeating it must decide as if they were not there yet, though they
        are answered from the ledger.
        """
        self._settled = self.ledger.hashes_before(round)
        self._asked = set()

    def calls(self) -> int:
        """Calls so far: what budgets and records count."""
        return self.ledger.count() if self._settled is None else len(self._settled) + len(self._asked)

    def remaining(self) -> int | None:
        """Calls left of the budget; None without one."""
        return None if self.budget is None else max(0, self.budget - self.calls())

    def label_many(
        self,
        structures: Sequence[Atoms],
        purpose: str,
        round: int,
        on_done: Callable[[int, Answer], None] | None = None,
    ) -> list[Answer]:
        """Answers in order: a `Label`, or the `ReferenceFailed` of that structure.

        Args:
            structures: what to ask; the same structure twice is asked once.
            purpose: why, for the ledger.
            round: of the search.
            on_done: called with (index, answer) as answers arrive.

        Raises:
            BudgetExhausted: the questions would exceed the budget; nothing was asked.
        """
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

        def finish(key: str, answer: Answer, wall: float) -> None:
            self.ledger.finish(key, answer, wall)
            answers[key] = answer
            if on_done is not None:
                on_done(indices[key], answer)

        if self.workers == 0 and self._given is None:
            for key, atoms in to_ask.items():
                self._begin(key, atoms, purpose, round)
                finish(key, *ask(self.reference, atoms, self.timeout))
        else:
            self._in_parallel(to_ask, purpose, round, finish)
        return [answers[key] for key in keys]

    def _begin(self, key: str, atoms: Atoms, purpose: str, round: int) -> None:
        self.ledger.begin(key, atoms, self.reference.name, self._settings, purpose, round)

    def _executor(self) -> Executor:
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"), initializer=limit_threads)
        return self._own

    def _in_parallel(self, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, Answer, float], None]) -> None:
        for key, atoms in to_ask.items():
            self._begin(key, atoms, purpose, round)
        suspects = self._run(list(to_ask.items()), finish)
        # A dead worker takes the whole pool's unfinished tasks with it: each is tried alone to find the culprit.
        for key, atoms in suspects:
            started = time.monotonic()
            if self._run([(key, atoms)], finish):
                finish(key, ReferenceFailed("the worker process died (out of memory?)"), time.monotonic() - started)

    def _run(self, tasks: list[tuple[str, Atoms]], finish: Callable[[str, Answer, float], None]) -> list[tuple[str, Atoms]]:
        """Run tasks; returns those whose worker died."""
        executor = self._executor()
        pending: dict[Future, tuple[str, Atoms]] = {}
        lost: list[tuple[str, Atoms]] = []
        try:
            for key, atoms in tasks:
                try:
                    pending[executor.submit(ask, self.reference, atoms, self.timeout)] = (key, atoms)
                except BrokenExecutor as error:
                    if self._given is not None:
                        raise NucleateError(
                            f"the executor given is broken and takes no more work ({error}); start a new one and resume"
                        ) from error
                    lost.append((key, atoms))
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    key, atoms = pending.pop(future)
                    try:
                        answer, wall = future.result()
                    except NucleateError:
                        raise
                    except Exception as error:
                        # `ask` lets no other exception out: this one tells of a worker lost, each executor in its own words.
                        if not isinstance(error, BrokenExecutor) and self._given is None:
                            raise
                        lost.append((key, atoms))
                        continue
                    finish(key, answer, wall)
        except KeyboardInterrupt:
            for future in pending:
                future.cancel()
            self.close()
            raise
        if lost:
            self.close()
        return lost
