"""What a worker in a block does: one label, written whole into the run folder before it is sent back."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ase import Atoms

from nucleate.errors import ReferenceFailed, StorageFailed
from nucleate.reference.asking import ask
from nucleate.reference.base import Label, Reference
from nucleate.reference.cluster.mpi import ask_under_mpi
from nucleate.reference.engine_inputs import LAUNCHER
from nucleate.reference.spool import write_answer


def compute(
    reference: Reference, atoms: Atoms, timeout: float | None, key: str, spool: Path | None, launch: str, own_program: bool
) -> tuple[Label | ReferenceFailed, float]:
    """Label a structure in a worker; return the answer and the wall time in seconds.

    Args:
        reference: method that labels structures.
        atoms: the structure.
        timeout: time limit of the calculation, s.
        key: hash of the calculation.
        spool: folder into which the answer is written as well; None, or a folder that this node does not see: it is not.
        launch: command before an MPI program; empty without MPI.
        own_program: whether the reference starts a program of its own; else Python is started under MPI.
    """
    visible = spool is not None and spool.is_dir()
    if launch and own_program:
        os.environ[LAUNCHER] = launch
    if launch and not own_program:
        answer, wall = ask_under_mpi(reference, atoms, timeout, launch, spool.parent if spool is not None and visible else None)
    else:
        answer, wall = ask(reference, atoms, timeout)
    if spool is not None and visible:
        # The answer is sent back as well.
        with suppress(OSError, StorageFailed):
            write_answer(spool, key, answer, wall)
    return answer, wall
