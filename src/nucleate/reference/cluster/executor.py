"""An executor of blocks: Parsl is started with the first label and ends, with its blocks, when the executor is closed."""

from __future__ import annotations

import os
import re
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from nucleate.errors import BadInput, MissingDependency, NucleateError, quoted
from nucleate.processes.interrupts import interrupts_delayed
from nucleate.reference.cluster.blocks import Blocks, Swept
from nucleate.reference.cluster.checks import listening_address
from nucleate.reference.cluster.jobs import LABEL
from nucleate.reference.cluster.mpi import Ranks
from nucleate.reference.cluster.settings import ExecutorSettings

LAST_WORDS = 300
"""Largest length of the error stream of a block that a message repeats, in characters."""
CLOSING = 30.0
"""Longest time that Parsl may take to end, s."""
SUBMITTING = 60.0
"""Longest time that is waited for a job that is being submitted when the executor is closed, s."""
SETTLING = 1.0
"""Longest time between two looks at the blocks while labels are awaited, s."""


class BlockExecutor(Executor):
    """An executor whose workers may be lost with their block at any moment, see `label_in_blocks`.

    Attributes:
        folder: folder of the blocks.
        source: name of the executor file, for error messages.
        ranks: MPI ranks of a label.
    """

    folder: Path
    source: str
    ranks: Ranks

    @property
    @abstractmethod
    def attempts(self) -> int:
        """Times that a label is handed out before it is recorded as failed."""

    @abstractmethod
    def check(self) -> None:
        """Raise `NucleateError` if no block can do any work."""


class ClusterExecutor(BlockExecutor):
    """Executor of labels in blocks of a batch system.

    Args:
        settings: settings of the executor file.
        folder: folder of the blocks in the run folder, which is created; it must be visible on the nodes.
        source: name of the executor file, for error messages.
        own_program: whether the reference starts a program of its own, before which the MPI launcher is put; else the launcher starts
            Python for each label.

    Raises:
        BadInput: the path of the folder cannot be part of a job script, or the folder cannot be created.
    """

    def __init__(self, settings: ExecutorSettings, folder: Path, source: str, own_program: bool = False):
        self.settings = settings
        self.source = source
        self.ranks = Ranks(settings.label.ranks, settings.launch, own_program)
        self.folder = folder.resolve()
        refuse_odd_path(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written: {error.strerror}; choose another run folder") from error
        if not is_ours(self.folder):
            raise BadInput(f"{folder}: belongs to another user, who could change job scripts in it; copy the run folder and use the copy")
        self.blocks = Blocks.read(self.folder)
        self._kernel: Any = None
        self._pool: Any = None
        self._parsl: Any = None
        self._started = False
        self._looked = 0.0

    @property
    def attempts(self) -> int:
        """Times that a label is handed out before it is recorded as failed."""
        return self.settings.label.attempts

    def submit(self, fn: Callable[..., Any], /, *args: Any, **keywords: Any) -> Future[Any]:
        """Submit a call; the first one starts Parsl.

        Raises:
            MissingDependency: Parsl is not installed.
            BadInput: the network interface does not exist.
            NucleateError: Parsl cannot start.
        """
        if self._kernel is None:
            self._start()
        future: Future[Any] = self._pool.submit(fn, *args, **keywords)
        return future

    def _start(self) -> None:
        try:
            from parsl import DataFlowKernel
            from parsl.concurrent import ParslPoolExecutor

            from nucleate.reference.cluster.providers import make_config
        except ImportError as error:
            raise MissingDependency(
                f"an executor file needs Parsl, which cannot be imported ({quoted(str(error), 60)}); run: pip install 'nucleate[cluster]'"
            ) from error
        address = listening_address(self.settings, self.source)
        config = None
        self._started = True
        # An interrupt waits until Parsl has started whole, so that all of it can be closed. Keys of the encryption and job scripts are
        # nobody else's business.
        with interrupts_delayed():
            before = os.umask(0o077)
            try:
                self.blocks.begin()
                config = make_config(self.settings, address, self.folder / "parsl", self.blocks)
                self._kernel = DataFlowKernel(config)
                self._pool = ParslPoolExecutor(dfk=self._kernel)
                self._parsl = self._kernel.executors[LABEL]
            except BaseException as error:
                if self._kernel is None and config is not None:
                    # What Parsl has started so far; jobs are cancelled when this executor is closed.
                    _within(CLOSING, config.executors[0].shutdown)
                if isinstance(error, NucleateError) or not isinstance(error, Exception):
                    raise
                raise NucleateError(
                    f"{self.source}: Parsl cannot start ({type(error).__name__}: {quoted(str(error), 160)}); its files are in {self.folder}"
                ) from error
            finally:
                os.umask(before)

    def check(self) -> None:
        """Look whether blocks start and report.

        Raises:
            NucleateError: a block cannot be submitted, or several blocks in succession ended before a worker reported. The message
                quotes the end of what the last one wrote to its error stream.
        """
        now = time.monotonic()
        if self._parsl is None or now - self._looked < SETTLING:
            return
        self._looked = now
        process = self._parsl.interchange_proc
        if process is not None and process.poll() is not None:
            raise NucleateError(f"{self.source}: Parsl's interchange has ended (its log is in {self.folder}/parsl); resume the run")
        for manager in self._parsl.connected_managers():
            if manager["worker_count"] == 0:
                # Parsl starts as many workers as the cores and the memory of a node allow, which may be none.
                raise NucleateError(
                    f"{self.source}: a block has started, but no label of {self.settings.cores_of_a_label} cores"
                    f"{self._memory()} fits on a node; reduce label.cores, label.ranks or label.memory"
                )
        from parsl.jobs.states import JobState

        broken = 0
        for block, status in sorted(self._parsl.status_facade.items(), key=lambda item: int(item[0])):
            if status.state == JobState.FAILED and block not in self._parsl.blocks_to_job_id:
                raise NucleateError(f"{self.source}: a block cannot be submitted: {self._refusal(status.message or '')}")
            if status.state == JobState.MISSING:
                broken += 1
                if broken >= self.settings.connection.broken_blocks:
                    raise NucleateError(
                        f"{self.source}: {broken} blocks ended before a worker reported; the last one wrote: {self._words(block)}"
                    )
            elif status.state == JobState.RUNNING or status.terminal:
                # A running block is given the benefit of the doubt, one that has ended reported.
                broken = 0

    def _memory(self) -> str:
        memory = self.settings.label.memory
        return "" if memory is None else f" and {memory:g} GB"

    def _refusal(self, message: str) -> str:
        """Return what the batch system said when it refused a job."""
        found = re.search(r"[Ss](?:tderr|TDERR)[^:=]*[:=]\s*(.+)", message, re.DOTALL)
        text = found[1] if found else message
        return quoted(" ".join(text.split()), LAST_WORDS)

    def _words(self, block: str) -> str:
        """Return the end of the error stream of a block as one line."""
        job = self._parsl.blocks_to_job_id.get(block)
        facts = self._parsl.provider.resources.get(job, {})
        status = facts.get("status")
        path = facts.get("job_stderr_path") or getattr(status, "stderr_path", None)
        text = ""
        if path is not None:
            with suppress(OSError):
                text = Path(path).read_bytes()[-4000:].decode("utf-8", "replace")
        lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
        if not lines:
            return f"nothing (its files are in {self.folder}/parsl)"
        end = " / ".join(lines[-3:])
        return quoted(end if len(end) <= LAST_WORDS else f"...{end[3 - LAST_WORDS :]}", LAST_WORDS)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Cancel all blocks and end Parsl; labels that run in them are lost unless they have been written."""
        self.close()

    def close(self) -> Swept:
        """Do what `shutdown` does; return what became of the jobs. Interrupts wait until it is done."""
        kernel, self._kernel, self._parsl = self._kernel, None, None
        if not self._started:
            return Swept()
        with interrupts_delayed():
            try:
                # A job that is being submitted now is cancelled by its provider when its id is known.
                self.blocks.closing = True
                # Parsl waits for ever for an interchange that has been killed.
                if kernel is not None:
                    _within(CLOSING, kernel.cleanup)
                end = time.monotonic() + SUBMITTING
                while self.blocks.submitting and time.monotonic() < end:
                    time.sleep(0.1)
            finally:
                # Whatever became of Parsl, no job is left. By name as well, because a job may exist whose id is not known.
                swept = self.blocks.cancel_left()
            self._started, self.blocks.closing = False, False
            if not self.blocks.submitting and swept.asked and not any(swept.unsure.values()):
                self.blocks.end()
        return swept


def _within(seconds: float, action: Callable[[], object]) -> bool:
    """Run an action for a limited time, s; return whether it has ended. Its exceptions are ignored."""

    def run() -> None:
        with suppress(Exception):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def is_ours(folder: Path) -> bool:
    """Return whether a folder belongs to this user."""
    return folder.stat().st_uid == os.geteuid()


def refuse_odd_path(folder: Path) -> None:
    """Raise `BadInput` if the path of a run folder cannot be part of a job script, which Parsl writes without quotation marks."""
    if not re.fullmatch(r"[A-Za-z0-9_./+,@=-]+", str(folder)):
        raise BadInput(
            f"{quoted(str(folder), 160)}: job scripts cannot name a folder with spaces or special characters; choose another with --out"
        )
