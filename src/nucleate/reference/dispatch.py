"""Dispatch of reference calculations to worker processes; results that are in the ledger are not calculated again."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ase import Atoms

from nucleate.errors import BadInput, BudgetExhausted, NucleateError, ReferenceFailed, quoted
from nucleate.processes.interrupts import check, interrupts_delayed
from nucleate.processes.pools import worker_pool
from nucleate.processes.workers import end_remains, end_worker
from nucleate.progress import Event, Progress, Step, silent
from nucleate.reference.asking import Answer, ask, overrun
from nucleate.reference.base import Reference, checked_answer, content_hash, said, with_k_points
from nucleate.reference.cluster.blocks import note_label
from nucleate.reference.cluster.executor import BlockExecutor
from nucleate.reference.cluster.labels import label_in_blocks
from nucleate.reference.ledger import RETRY, Ledger
from nucleate.reference.shared.base import ANSWERS, Shared
from nucleate.reference.spool import forget_answer, kept_answer

STARTING = 300.0
"""Largest time that a worker process may take to start, s."""
FALSE_STARTS = 3
"""Number of successive workers that may die while they start, after others have started; they may be killed, or memory may be short."""
POLL = 1.0
"""Seconds between two questions to the shared ledger for a calculation of another search."""


def _ready(reference: Reference) -> int:
    """First call of a worker, which loads the modules of the reference; return the process id of its watcher, the parent process."""
    return os.getppid()


class _Slot:
    """One worker process and its current call, so that a lost worker or an exceeded time limit affects only one call."""

    def __init__(self, reference: Reference) -> None:
        self._pool = worker_pool(1)
        self.task: tuple[str, Atoms] | None = None
        self.deadline = time.monotonic() + STARTING
        self.began = time.monotonic()
        self.future: Future[Any] | None = self._pool.submit(_ready, reference)
        # The process of the pool becomes the watcher. If the pool does not give its id, the worker's first call does.
        self.watcher: int | None = next(iter(getattr(self._pool, "_processes", None) or ()), None)

    def give(self, task: tuple[str, Atoms], reference: Reference, timeout: float | None) -> None:
        """Submit a call; raise `BrokenExecutor` if the worker has died while it was idle."""
        # The worker has no time limit of its own; the leader ends it, and all engines that it started, at the deadline.
        self.future = self._pool.submit(ask, reference, task[1], None)
        self.task = task
        self.began = time.monotonic()
        self.deadline = float("inf") if timeout is None else self.began + timeout

    def end(self) -> None:
        """End the worker: kill a busy one at once; an idle one exits when its pool shuts down."""
        if self.future is not None and not self.future.done() and self.watcher is not None:
            end_worker(self.watcher)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def clear_up(self) -> None:
        """End the programs that a dead worker has left."""
        if self.watcher is not None:
            end_remains(self.watcher)
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Answered(Event):
    """The answer to one structure arrived.

    Attributes:
        index: Place of the structure among those asked.
        answer: A label, or the failure.
    """

    index: int
    answer: Answer


class Dispatcher:
    """Runs reference calculations, records them in the ledger, and takes the results of repeated ones from it.

    Args:
        reference: method that labels structures.
        ledger: ledger in which calls and results are recorded.
        workers: number of worker processes; 0 runs calculations in this process. Its engines are ended by an interrupt and at the time
            limit, but not if the process is killed by SIGKILL.
        executor: any `concurrent.futures.Executor`, used in place of local processes; it is not closed here.
        timeout: time limit of one calculation, s. Local workers that exceed it are killed with all programs that they started. In this
            process (`workers=0`) and on an executor it can interrupt only Python code, so set the limit of the queue as well.
        budget: largest number of calls, which are the rows of the ledger that were not found in the shared one.
        shared: ledger that other searches share, from which finished calculations are taken; it is not closed here.

    Raises:
        BadInput: the reference does not implement the protocol `Reference`.
    """

    def __init__(
        self,
        reference: Reference,
        ledger: Ledger,
        workers: int = 0,
        executor: Executor | None = None,
        timeout: float | None = None,
        budget: int | None = None,
        shared: Shared | None = None,
    ):
        if not isinstance(reference, Reference):
            needed = "name, surrogate, settings(), k_points(atoms) and label(atoms)"
            raise BadInput(f"{type(reference).__name__} is not a reference; it needs {needed}")
        self.reference = reference
        self.ledger = ledger
        self.workers = workers
        self.timeout = timeout
        self.budget = budget
        self._shared, self._published = shared, False
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

    def forget_failures(self) -> None:
        """Mark all failed calculations as interrupted, so that they are repeated when they are requested again."""
        if self._shared is not None:
            self._shared.withdraw([row.hash for row in self.ledger.rows() if row.status in ANSWERS and row.label is None])
        self.ledger.forget_failures()

    def begin_round(self, round: int, settled: Sequence[str] = ()) -> None:
        """Count only the calls of earlier rounds and those made from now on.

        A killed round leaves rows in the ledger. When the round is repeated, its decisions must not depend on these rows, although their
        results are taken from the ledger.

        Args:
            round: number of the round.
            settled: purposes of calls that count whatever their round.
        """
        self._settled = self.ledger.hashes_before(round, settled)
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
        progress: Progress = silent,
        like: Sequence[Atoms | None] | None = None,
    ) -> list[Answer]:
        """Label structures; return a `Label` or `ReferenceFailed` for each, in order.

        Args:
            structures: structures to label; repeated structures are calculated once.
            purpose: purpose of the calculations, for the ledger.
            round: round of the search, for the ledger.
            progress: called with an `Answered` after each calculation.
            like: structure whose k-point grid is used for each structure, normally the first one of its relaxation; its lattice vectors
                may differ only by a strain. None uses the grid of the structure itself.

        Raises:
            BudgetExhausted: the calls would exceed the budget; none is made.
        """
        like = [None] * len(structures) if like is None else like
        structures = [with_k_points(atoms, self.reference, first) for atoms, first in zip(structures, like, strict=True)]
        keys = [content_hash(atoms, self._settings) for atoms in structures]
        answers: dict[str, Answer] = {}
        to_ask: dict[str, Atoms] = {}
        known: set[str] = set()
        free: set[str] = set()
        for key, atoms in zip(keys, structures, strict=True):
            if key in answers or key in to_ask:
                continue
            row = self.ledger.lookup(key)
            if row is not None and row.status not in RETRY:
                answers[key] = row.answer()
            else:
                to_ask[key] = atoms
            if row is not None:
                known.add(key)
                free |= {key} if row.found else set()
        indices = {key: k for k, key in reversed(list(enumerate(keys)))}

        def take(found: dict[str, Answer]) -> None:
            """Record results of other searches."""
            for key, answer in found.items():
                self.ledger.enter_found(key, to_ask.pop(key), self.reference.name, self._settings, purpose, round, answer)
                answers[key] = answer
                free.add(key)
                self._asked.discard(key)
                progress(Answered(indices[key], answer))

        found: dict[str, Answer] = {}
        if self._shared is not None and to_ask:
            self.publish()
            found = self._shared.find(to_ask)
        paid = {*answers, *to_ask} - free - found.keys()
        new = len(paid - (known if self._settled is None else self._settled | self._asked))
        left = self.remaining()
        if left is not None and new > left:
            raise BudgetExhausted(f"{new} more reference calls would exceed the budget of {self.budget} ({left} left)")
        if self._settled is not None:
            self._asked |= paid - self._settled
        if self._shared is not None:
            # Rows are in the order of the structures, whoever calculates them first, and training data in the order of the rows.
            for key, atoms in to_ask.items():
                self.ledger.reserve(key, atoms, self.reference.name, self._settings, purpose, round)
            take(found)

        def finish(key: str, answer: object, wall: float) -> None:
            checked = checked_answer(answer, to_ask[key])
            try:
                self.ledger.keep(key, checked, wall)
            finally:
                # Also if the ledger of the run could only keep it in a file.
                if self._shared is not None:
                    self._shared.finish(key, checked, wall)
            answers[key] = checked
            progress(Answered(indices[key], checked))

        if self._shared is None:
            self._calculate(to_ask, purpose, round, finish)
        else:
            self._calculate_with_others(self._shared, to_ask, answers, purpose, round, finish, take, progress)
        return [answers[key] for key in keys]

    def publish(self) -> None:
        """Enter earlier results of this search into the shared ledger, once; they may be older than it, or it could not be reached."""
        shared = self._shared
        if self._published or shared is None:
            return
        done = {row.hash: row for row in self.ledger.rows() if row.status in ANSWERS and not row.found}
        for key in shared.unknown(done):
            row = done[key]
            shared.publish(key, row.atoms, self.reference.name, self._settings, row.answer(), row.wall_seconds, row.attempts)
        self._published = True

    def _calculate_with_others(
        self, shared: Shared, to_ask: dict[str, Atoms], answers: dict[str, Answer], purpose: str, round: int,
        finish: Callable[[str, object, float], None], take: Callable[[dict[str, Answer]], None], progress: Progress,
    ) -> None:  # fmt: skip
        """Run the calculations that no other search is doing, and wait for the others."""
        left, total = dict(to_ask), len(to_ask)
        while left:
            mine = shared.claim(left, self.reference.name, self._settings)
            try:
                self._calculate({key: left[key] for key in left if key in mine}, purpose, round, finish)
            except BaseException:
                # The shared ledger may be the cause; then the lease expires, and the results are entered when the search goes on.
                with interrupts_delayed(), suppress(Exception):
                    self._give_back(shared, mine)
                raise
            # Those whose lease expired before they were handed out are left as well.
            left = {key: atoms for key, atoms in left.items() if key not in answers}
            found = shared.find(left)
            take(found)
            left = {key: atoms for key, atoms in left.items() if key not in found}
            if left and not mine and not found:
                progress(Step("waiting for labels of other searches", total - len(left), total))
                check()
                time.sleep(POLL)

    def _give_back(self, shared: Shared, keys: Iterable[str]) -> None:
        """Enter what has been finished into the shared ledger, and give the other claims back."""
        unfinished = []
        for key in keys:
            row = self.ledger.lookup(key)
            if row is not None and row.status not in RETRY:
                shared.finish(key, row.answer(), row.wall_seconds)
            else:
                unfinished.append(key)
        shared.release(unfinished)

    def _calculate(self, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]) -> None:
        if self.workers == 0 and self._given is None:
            for key, atoms in to_ask.items():
                if self._begin(key, atoms, purpose, round):
                    finish(key, *ask(self.reference, atoms, self.timeout))
        elif isinstance(self._given, BlockExecutor):
            self._in_blocks(self._given, to_ask, purpose, round, finish)
        elif self._given is not None:
            self._on_executor(self._given, to_ask, purpose, round, finish)
        else:
            self._on_slots(to_ask, purpose, round, finish)

    def _begin(self, key: str, atoms: Atoms, purpose: str, round: int) -> bool:
        """Record that a calculation is handed out; return False, and record nothing, if another search has taken it over."""
        if self._shared is not None and not self._shared.begin(key):
            return False
        self.ledger.begin(key, atoms, self.reference.name, self._settings, purpose, round)
        return True

    def _on_slots(self, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]) -> None:
        """Run calls on local workers, one call per worker at a time.

        Calls that are waiting are thus neither lost with a worker nor calculated after the leader has ended.
        """
        waiting = deque(to_ask.items())
        lost: set[str] = set()
        try:
            while waiting or any(slot.task for slot in self._slots):
                while len(self._slots) < min(self.workers, len(waiting) + sum(slot.task is not None for slot in self._slots)):
                    with interrupts_delayed():
                        self._slots.append(_Slot(self.reference))
                for slot in list(self._slots):
                    if slot.future is None and waiting:
                        key, atoms = waiting[0]
                        if not self._begin(key, atoms, purpose, round):
                            waiting.popleft()
                            continue
                        try:
                            slot.give((key, atoms), self.reference, self.timeout)
                        except BrokenExecutor:
                            # The worker died while it was idle, so no call is lost.
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
        """Record finished results before all workers are ended."""
        for slot in self._slots:
            if slot.future is not None and slot.task is not None and slot.future.done():
                key, atoms = slot.task
                with suppress(Exception):
                    answer, wall = slot.future.result()
                    self.ledger.keep(key, checked_answer(answer, atoms), wall, patience=())

    def _await(self, waiting: deque[tuple[str, Atoms]], lost: set[str], finish: Callable[[str, object, float], None]) -> None:
        """Wait until a worker has finished or exceeded its time limit, and process its result."""
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
                    raise NucleateError(f"a worker process did not start within {STARTING:g} s; set reference.workers to 0")
                finish(task[0], overrun(self.timeout), now - slot.began)

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
                # The worker may have been killed from outside, so the call is repeated once.
                lost.add(task[0])
                waiting.append(task)
            return
        except Exception as error:  # the result or the reference could not be pickled
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

    def _in_blocks(
        self, executor: BlockExecutor, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]
    ) -> None:
        """Run calculations in blocks; their workers write each result into the spool of the ledger before they send it."""
        if not to_ask:
            return
        spool = self.ledger.spool

        def finish_and_forget(key: str, answer: object, wall: float) -> None:
            finish(key, answer, wall)
            if spool is not None:
                forget_answer(spool, key)

        def begin(key: str, atoms: Atoms) -> int:
            if not self._begin(key, atoms, purpose, round):
                # Another search has taken it over; it is handed out all the same, since the others of its batch are waited for.
                self.ledger.begin(key, atoms, self.reference.name, self._settings, purpose, round)
            row = self.ledger.lookup(key)
            return 1 if row is None else row.attempts

        def save(key: str, answer: object, wall: float) -> None:
            self.ledger.keep(key, checked_answer(answer, to_ask[key]), wall, patience=())

        waiting = dict(to_ask)
        for key, atoms in to_ask.items():
            # A worker of an earlier process may have finished it since the ledger was opened.
            written = None if spool is None else kept_answer(spool, key)
            if written is not None:
                if self.ledger.lookup(key) is None:
                    begin(key, atoms)
                note_label(executor.folder, written[1])
                finish_and_forget(key, *written)
                del waiting[key]
        label_in_blocks(executor, self.reference, waiting, self.timeout, spool, begin, finish_and_forget, save)

    def _on_executor(
        self, executor: Executor, to_ask: dict[str, Atoms], purpose: str, round: int, finish: Callable[[str, object, float], None]
    ) -> None:
        tasks = [(key, atoms) for key, atoms in to_ask.items() if self._begin(key, atoms, purpose, round)]
        suspects = self._run(executor, tasks, finish)
        # A dead worker may cancel other unfinished tasks of an executor; each is repeated alone to identify the one that failed.
        for key, atoms in suspects:
            started = time.monotonic()
            if self._run(executor, [(key, atoms)], finish):
                finish(key, ReferenceFailed("the worker process died (out of memory?)"), time.monotonic() - started)

    def _run(
        self, executor: Executor, tasks: list[tuple[str, Atoms]], finish: Callable[[str, object, float], None]
    ) -> list[tuple[str, Atoms]]:
        """Run tasks on an executor; return those whose worker died."""
        pending: dict[Future[Any], tuple[str, Atoms]] = {}
        lost: list[tuple[str, Atoms]] = []
        try:
            for key, atoms in tasks:
                try:
                    pending[executor.submit(ask, self.reference, atoms, self.timeout)] = (key, atoms)
                except BrokenExecutor as error:
                    raise NucleateError(
                        f"the executor is broken and accepts no more tasks ({error}); start a new one and resume"
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
                        # `ask` raises no other exceptions, so this one is the executor's report of a lost worker.
                        lost.append((key, atoms))
                        continue
                    finish(key, answer, wall)
        except BaseException:
            for future in pending:
                future.cancel()
            raise
        return lost
