"""One executor of blocks for the searches of a campaign: each search runs in a process of its own and sends its labels to the leader."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nucleate.errors import NucleateError
from nucleate.reference.base import said
from nucleate.reference.cluster.executor import BlockExecutor
from nucleate.reference.cluster.labels import LOST
from nucleate.reference.cluster.mpi import Ranks


class WorkerLost(Exception):
    """The worker of a label, or its block, is gone."""


class Refused(Exception):
    """The worker of a label could not begin it."""


class Leader:
    """Connection of the process of a search to the leader of the campaign.

    Args:
        connection: the connection.
        lost: called when the leader is gone.
    """

    def __init__(self, connection: Connection, lost: Callable[[], None]):
        self._connection, self._lost = connection, lost
        self._sending = threading.Lock()
        self.receive: Callable[[tuple[Any, ...]], None] = lambda message: None
        threading.Thread(target=self._listen, daemon=True, name="messages of the leader").start()

    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message; nothing is sent to a leader that is gone."""
        with self._sending, suppress(OSError):
            self._connection.send(message)

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                self._lost()
                return
            self.receive(message)


class RemoteBlocks(BlockExecutor):
    """The leader's executor, in the process of a search.

    Args:
        leader: connection to the leader.
        folder: folder of the blocks.
        source: name of the executor file.
        ranks: MPI ranks of a label.
        attempts: times that a label is handed out.
    """

    def __init__(self, leader: Leader, folder: Path, source: str, ranks: Ranks, attempts: int) -> None:
        self.folder, self.source, self.ranks = folder, source, ranks
        self._attempts, self._leader = attempts, leader
        self._futures: dict[int, Future[Any]] = {}
        self._numbers = itertools.count()
        self._broken: NucleateError | None = None
        leader.receive = self._receive

    @property
    def attempts(self) -> int:
        """Times that a label is handed out before it is recorded as failed."""
        return self._attempts

    def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """Send a call to the leader."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        self._futures[number] = future
        self._leader.send(("submit", number, fn, args, keywords))
        return future

    def check(self) -> None:
        """Raise the error that the leader has met with its blocks."""
        if self._broken is not None:
            raise self._broken

    def _receive(self, message: tuple[Any, ...]) -> None:
        number, outcome, value = message
        if outcome == "broken":
            self._broken = value
            return
        future = self._futures.pop(number, None)
        if future is None or not future.set_running_or_notify_cancel():
            return
        if outcome == "answer":
            future.set_result(value)
        elif isinstance(value, str):
            future.set_exception(WorkerLost(value) if outcome == "lost" else Refused(value))
        else:
            future.set_exception(value)


def serve_label(executor: BlockExecutor, message: tuple[Any, ...], send: Callable[[tuple[Any, ...]], None]) -> None:
    """Run the call of a message `("submit", number, function, arguments, keywords)` and send its outcome when it has ended."""
    _, number, function, arguments, keywords = message

    def done(future: Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            send((number, "answer", future.result()))
        elif type(error).__name__ in LOST:
            send((number, "lost", said(error)))
        else:
            # Exceptions of other packages need not survive the way through a pipe.
            send((number, "refused", error if isinstance(error, NucleateError) else said(error)))

    try:
        executor.submit(function, *arguments, **keywords).add_done_callback(done)
    except NucleateError as error:
        send((number, "refused", error))
