"""A label of a reference that runs in Python, such as GPAW, on several MPI ranks that a launcher starts.

    srun -n 4 python -m nucleate.reference.cluster.mpi FOLDER

All ranks compute the label; the first one writes the answer. The task is a pickle that the worker writes into a private temporary folder.
"""

from __future__ import annotations

import os
import pickle
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ase import Atoms

from nucleate.errors import ReferenceFailed
from nucleate.reference.asking import ask
from nucleate.reference.base import Label, Reference, checked_answer
from nucleate.reference.spool import kept_answer, write_answer

RANKS = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
"""Environment variables in which MPI libraries and launchers state the rank of a process."""
LAUNCHED = ("PMI_", "PMIX_", "OMPI_COMM_WORLD_")
"""Beginnings of the environment variables that a launcher sets for the ranks of an MPI program."""
OF_USERS = "PMIX_MCA_"
"""Beginning of variables with settings of users."""
KEY = "0" * 64
LAST_WORDS = 300


class Ranks(NamedTuple):
    """MPI ranks of a label.

    Attributes:
        number: number of ranks.
        launch: command before an MPI program; empty without MPI.
        own_program: whether the reference starts a program of its own, before which the command is put; else it starts Python.
    """

    number: int
    launch: str
    own_program: bool


def forget_launcher() -> None:
    """Remove the variables of the launcher that has started the workers of a node.

    Workers are not ranks of one program: GPAW refuses serial calculations with these variables, and launchers started inside take them for
    their own.
    """
    for name in list(os.environ):
        if name.startswith(LAUNCHED) and not name.startswith(OF_USERS):
            del os.environ[name]


def ask_under_mpi(
    reference: Reference, atoms: Atoms, timeout: float | None, ranks: Ranks, near: Path | None
) -> tuple[Label | ReferenceFailed, float]:
    """Run one calculation on several ranks; return the label or failure, and the wall time in seconds.

    Args:
        reference: method that labels structures.
        atoms: the structure.
        timeout: time limit, s; all ranks are killed after it.
        ranks: number of ranks and the command that starts them.
        near: folder that all nodes of a block see; None: the ranks are on this node.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nucleate-mpi-", dir=near) as name:
        folder = Path(name)
        with (folder / "task").open("wb") as stream:
            pickle.dump((reference, atoms), stream)
        command = [*shlex.split(ranks.launch), sys.executable, "-P", "-m", "nucleate.reference.cluster.mpi", str(folder)]
        with (folder / "output").open("wb") as output:
            try:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
            except OSError as error:
                return ReferenceFailed(f"MPI: {command[0]} cannot be started: {error.strerror}"), time.monotonic() - started
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                reason = f"stopped after the time limit of {timeout:g} s"
                return ReferenceFailed(reason, kind="timeout"), time.monotonic() - started
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        answer = kept_answer(folder, KEY)
        wall = time.monotonic() - started
        if answer is None:
            text = " / ".join((folder / "output").read_text(errors="replace").split("\n")[-6:])
            return ReferenceFailed(f"MPI: the ranks ended without a label (code {process.returncode}): {text[-LAST_WORDS:]}"), wall
    label = answer[0]
    if isinstance(label, Label):
        # Ranks use their cores all the time, in waiting as well.
        label = replace(label, core_seconds=wall * ranks.number)
    return checked_answer(label, atoms), wall


def main(folder: Path) -> None:
    """Compute the task of a folder on this rank."""
    # Else GPAW, started by `python` and not by `gpaw python`, refuses to use MPI.
    os.environ.setdefault("GPAW_MPI_BACKEND", "cgpaw")
    with (folder / "task").open("rb") as stream:
        # Opening a pickle can run code: it must be the one that the worker of this user has written.
        if os.fstat(stream.fileno()).st_uid != os.geteuid():
            raise SystemExit(f"{folder / 'task'}: belongs to another user")
        reference, atoms = pickle.load(stream)
    answer, wall = ask(reference, atoms, None)
    rank = next((int(os.environ[name]) for name in RANKS if os.environ.get(name, "").isdigit()), 0)
    if rank == 0:
        write_answer(folder, KEY, answer, wall)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
