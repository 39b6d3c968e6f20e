"""The executor of a run: a file that says where labels run, kept in the run folder, and the blocks that it started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nucleate.csp.run_folder import RunFolder
from nucleate.errors import BadInput, NucleateError, RunFolderError
from nucleate.persist.files import write_whole
from nucleate.persist.toml import to_toml
from nucleate.processes.interrupts import interrupts_delayed
from nucleate.reference.cluster.blocks import Blocks, Swept
from nucleate.reference.cluster.checks import check_cluster
from nucleate.reference.cluster.executor import ClusterExecutor, is_ours
from nucleate.reference.cluster.given import LOCAL, OWN_PROGRAMS, GivenExecutor, read_executor
from nucleate.reference.cluster.jobs import NAME, left_line
from nucleate.reference.cluster.settings import ExecutorSettings, read_cluster
from nucleate.reference.spool import BLOCKS

FILE = "executor.toml"
"""Name of the executor file in a run folder."""


def kept_executor(folder: Path) -> Path | None:
    """Return the executor file of a run folder; None if there is none."""
    path = folder / FILE
    return path if path.is_file() else None


@contextmanager
def opened_executor(folder: RunFolder, given: GivenExecutor, engine: str, trust: bool = False) -> Iterator[Executor | None]:
    """Context with the executor of a run: the given one, else the one that the run keeps; None: local processes.

    Blocks of an earlier process are cancelled, and the labels that they have finished are recorded. A given file replaces the kept one,
    and `local` removes it.

    Args:
        folder: open run folder.
        given: executor, executor file, `local`, or None.
        engine: engine of the reference.
        trust: whether to use a kept file of another user, whose lines are part of job scripts.

    Raises:
        BadInput: as for `read_executor`.
        MissingDependency: as for `read_executor`.
        RunFolderError: the kept file belongs to another user.
        NucleateError: blocks of an earlier process may still run, and new ones would compute the same labels beside them.
    """
    settings = read_executor(given)
    swept = clear_up(folder)
    kept = kept_executor(folder.path)
    source = str(given)
    if given == LOCAL:
        if kept is not None:
            kept.unlink()
    elif settings is not None:
        write_whole(folder.path / FILE, to_toml(settings))
    elif given is None and kept is not None:
        if kept.stat().st_uid != os.geteuid() and not trust:
            raise RunFolderError(
                f"{kept}: belongs to another user and its lines are part of job scripts; read it, then give it with --executor"
            )
        settings, source = _kept_settings(kept), str(kept)
    if settings is None:
        yield given if isinstance(given, Executor) else None
        return
    if any(swept.unsure.values()) or not swept.asked:
        raise NucleateError(
            f"{folder.path}: jobs of an earlier process may still run, because the batch system does not answer or does not cancel them; "
            f"resume the run when they have ended, or go on without blocks with --executor {LOCAL}"
        )
    executor = ClusterExecutor(settings, folder.path / BLOCKS, source, engine in OWN_PROGRAMS)
    try:
        yield executor
    finally:
        # A second Ctrl-C must neither leave jobs nor lose labels that were finished while the search stopped.
        with interrupts_delayed():
            try:
                _say(folder, executor.close())
            finally:
                folder.ledger.collect()


def _kept_settings(path: Path) -> ExecutorSettings:
    try:
        settings = read_cluster(path)
        check_cluster(settings, str(path))
    except BadInput as error:
        raise BadInput(f"{error}; another executor is given with --executor FILE, none with --executor {LOCAL}") from None
    return settings


def clear_up(folder: RunFolder) -> Swept:
    """Cancel the blocks that an earlier process has left and record the labels that they have finished; return what became of the jobs.

    The finished labels were recorded when the folder was opened; those that were finished since are recorded after the jobs are cancelled.
    """
    blocks = Blocks.read(folder.path / BLOCKS)
    if (not blocks.left() and not blocks.open) or not is_ours(folder.path / BLOCKS):
        return Swept()
    swept = blocks.cancel_left()
    folder.ledger.collect()
    if swept.cancelled:
        folder.event("blocks_cancelled", jobs=swept.cancelled)
    _say(folder, swept)
    if swept.asked and not any(swept.unsure.values()):
        blocks.end()
    return swept


def _say(folder: RunFolder, swept: Swept) -> None:
    """Name jobs that may still exist: in the event log, and on the error stream, because they go on to cost core time."""
    for provider, jobs in swept.unsure.items():
        if jobs:
            folder.event("blocks_left", jobs=jobs)
            print(f"{folder.path}: {left_line(jobs, provider)}", file=sys.stderr)
    if not swept.asked and not any(swept.unsure.values()):
        print(
            f"{folder.path}: squeue does not answer; jobs with names that begin with {NAME} may be left (see: squeue --me)", file=sys.stderr
        )


def blocks_data(folder: Path) -> dict[str, Any] | None:
    """Return the cost of the blocks of a run for `nucleate show`, see `Blocks.cost`; None if it had none."""
    return Blocks.read(folder / BLOCKS).cost()
