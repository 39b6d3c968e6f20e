"""One reference calculation in this process, whose every end is a label or a failure."""

from __future__ import annotations

import signal
import threading
import time

from ase import Atoms

from nucleate.errors import NucleateError, ReferenceFailed
from nucleate.processes.interrupts import check, listening
from nucleate.processes.limits import OutOfTime, time_limit
from nucleate.processes.workers import engines_end_with_failure, output_apart
from nucleate.reference.base import Label, Reference, checked_answer, said

Answer = Label | ReferenceFailed


def ask(reference: Reference, atoms: Atoms, timeout: float | None) -> tuple[Answer, float]:
    """Run one calculation in this process; return the label or failure, and the wall time in seconds.

    The time limit interrupts only Python code in the main thread; for local workers the dispatcher enforces it from outside.
    """
    started = time.monotonic()
    answer: object
    try:
        if threading.current_thread() is threading.main_thread():
            with listening(), engines_end_with_failure(), output_apart(), time_limit(timeout):
                answer = reference.label(atoms.copy())
        else:
            answer = reference.label(atoms.copy())
    except OutOfTime:
        answer = overrun(timeout)
    except ReferenceFailed as failure:
        # An engine may report an interrupt as its own failure; then the interrupt is raised and no failure is recorded.
        check()
        answer = failure
    except NucleateError:
        raise
    except BaseException as error:  # calculators raise exceptions of any type, and some call sys.exit()
        if isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
        check()
        answer = ReferenceFailed(said(error))
    return checked_answer(answer, atoms), time.monotonic() - started


def overrun(timeout: float | None) -> ReferenceFailed:
    """Return the failure of a calculation that exceeded its time limit in seconds."""
    return ReferenceFailed(f"stopped after the time limit of {timeout:g} s", kind="timeout")
