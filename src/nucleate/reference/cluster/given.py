"""Executors that a user gives, and blocks whose record lies beside a ledger."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from nucleate.errors import BadInput, NucleateError
from nucleate.persist.locks import lock_file
from nucleate.processes.interrupts import interrupts_delayed
from nucleate.reference.cluster.blocks import Blocks
from nucleate.reference.cluster.checks import check_cluster
from nucleate.reference.cluster.executor import ClusterExecutor, is_ours, refuse_odd_path
from nucleate.reference.cluster.jobs import left_line
from nucleate.reference.cluster.settings import ExecutorSettings, read_cluster
from nucleate.reference.spool import BLOCKS

LOCAL = "local"
"""Executor that stands for worker processes on this computer, without blocks."""
OWN_PROGRAMS = ("espresso", "vasp", "cp2k")
"""Engines that are programs of their own, before which an MPI launcher is put."""

SEARCH = "run.db"
"""Name of the database of a search in its run folder."""

GivenExecutor = Executor | str | PathLike[str] | None


def read_executor(given: GivenExecutor) -> ExecutorSettings | None:
    """Return the settings of an executor file that is given; None if none is. Nothing is started.

    Raises:
        BadInput: the file cannot be read, a setting is wrong, or the partition or interface does not exist.
        MissingDependency: Parsl or a program of the batch system is not installed.
    """
    if given is None or given == LOCAL:
        return None
    if isinstance(given, Executor):
        return None
    if not isinstance(given, str | PathLike):
        kind = type(given).__name__
        raise BadInput(f"executor: {kind} is neither a file nor a concurrent.futures.Executor; name an executor file in TOML")
    settings = read_cluster(given)
    check_cluster(settings, str(given))
    return settings


def check_place(given: GivenExecutor, folder: Path) -> None:
    """Raise `BadInput` if job scripts cannot name the folder of the blocks; asked before it is created."""
    if given is not None and given != LOCAL and not isinstance(given, Executor):
        refuse_odd_path(folder.resolve())


@contextmanager
def blocks_in(folder: Path, given: GivenExecutor, engine: str, collect: Callable[[], object] | None = None) -> Iterator[Executor | None]:
    """Context with an executor whose blocks are recorded in `blocks` of a folder; None: local processes.

    Blocks that an earlier process has left there are cancelled first, also if no executor is given now; those of a search are its own.

    Args:
        folder: existing folder, with the ledger of the calculations.
        given: executor, executor file, `local`, or None.
        engine: engine of the reference.
        collect: records results that workers have left beside the ledger; called when no block can write any more.

    Raises:
        BadInput: as for `read_executor`, or the folder is that of a search.
        MissingDependency: as for `read_executor`.
        RunFolderError: another process uses the blocks of this folder.
        NucleateError: blocks of an earlier process may still run.
    """
    settings, place = read_executor(given), folder / BLOCKS
    search = (folder / SEARCH).exists()
    if settings is None and (search or not _may_run(place)):
        yield given if isinstance(given, Executor) else None
        return
    if search:
        raise BadInput(f"{folder}: is the folder of a search, which has blocks of its own; choose another folder")
    refuse_odd_path(place.resolve())
    place.mkdir(exist_ok=True)
    lock = lock_file(place / "lock", f"{place}: another process is using these blocks; wait for it, or choose another folder")
    try:
        if _may_run(place):
            left = Blocks.read(place)
            swept = left.cancel_left()
            if any(swept.unsure.values()) or not swept.asked:
                raise NucleateError(
                    f"{folder}: jobs of an earlier process may still run, because the batch system does not answer; "
                    "repeat the command later"
                )
            left.end()
            if collect is not None:
                collect()
        if settings is None:
            yield given if isinstance(given, Executor) else None
            return
        executor = ClusterExecutor(settings, place, str(given), engine in OWN_PROGRAMS)
        try:
            yield executor
        finally:
            # A second Ctrl-C must neither leave jobs nor lose labels that were finished meanwhile.
            with interrupts_delayed():
                for provider, jobs in executor.close().unsure.items():
                    if jobs:
                        print(f"{folder}: {left_line(jobs, provider)}", file=sys.stderr)
                if collect is not None:
                    collect()
    finally:
        os.close(lock)


def _may_run(place: Path) -> bool:
    """Return whether a folder of blocks records some that may run."""
    if not place.is_dir() or not is_ours(place):
        return False
    blocks = Blocks.read(place)
    return bool(blocks.left()) or blocks.open
