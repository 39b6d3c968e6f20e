"""What a worker in a block does: one label, written whole into the run folder before it is sent back."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from nucleate.errors import ReferenceFailed, StorageFailed
from nucleate.reference.asking import ask
from nucleate.reference.base import Label, Reference
from nucleate.reference.cluster.mpi import Ranks, ask_under_mpi, forget_launcher
from nucleate.reference.engine_inputs import LAUNCHER
from nucleate.reference.spool import write_answer


def compute(
    reference: Reference, atoms: Atoms, timeout: float | None, key: str, spool: Path | None, ranks: Ranks
) -> tuple[Label | ReferenceFailed, float]:
    """Label a structure in a worker; return the answer and the wall time in seconds.

    Args:
        reference: method that labels structures.
        atoms: the structure.
        timeout: time limit of the calculation, s.
        key: hash of the calculation.
        spool: folder into which the answer is written as well; None, or a folder that this node does not see: it is not.
        ranks: MPI ranks of the calculation.
    """
    forget_launcher()
    visible = spool is not None and spool.is_dir()
    if ranks.launch and not ranks.own_program:
        answer, wall = ask_under_mpi(reference, atoms, timeout, ranks, spool.parent if spool is not None and visible else None)
    else:
        os.environ[LAUNCHER] = ranks.launch
        answer, wall = ask(reference, atoms, timeout)
        if ranks.launch and isinstance(answer, Label):
            # Ranks that a batch system starts are not children of this process, whose CPU time is measured.
            answer = replace(answer, core_seconds=wall * ranks.number)
    if spool is not None and visible:
        # The answer is sent back as well.
        with suppress(OSError, StorageFailed):
            write_answer(spool, key, answer, wall)
    return answer, wall
