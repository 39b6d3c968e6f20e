"""Commands in forked processes, with a fault at one of their writes or a signal at a moment; what they did is looked at from outside."""

from __future__ import annotations

import atexit
import ctypes
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LIMIT = 300.0
"""Seconds after which a command hangs."""
GONE = 5.0
"""Seconds in which the processes of a killed command must have ended."""
MARK = "FAULTS_MARK"
"""Environment variable by which the processes of a command are found."""

KINDS = ("count", "full", "read-only", "kill", "torn", "term", "int", "clock")
"""What happens at a write, in the order of interpose.c."""


@dataclass(frozen=True)
class Ended:
    """What a command did.

    Attributes:
        code: exit code; negative: ended by this signal; None: still running after `LIMIT`.
        out: standard output.
        err: standard error.
        seconds: wall time.
        calls: number of calls that change files.
        fired: whether the fault happened.
        left: processes that had not ended after `GONE`.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    calls: int
    fired: bool
    left: int


def with_interposer(build: Path, modules: Path = HERE) -> None:
    """Compile interpose.c and start this script anew with it, unless that has been done; workers find the calculators in `modules`."""
    library = build / "interpose.so"
    if os.environ.get("LD_PRELOAD") == str(library):
        return
    build.mkdir(parents=True, exist_ok=True)
    # Another script may load it at this moment.
    part = library.with_name(f"interpose-{os.getpid()}.so")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(part), str(HERE / "interpose.c"), "-ldl"], check=True)
    part.replace(library)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    path = os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, **threads, "LD_PRELOAD": str(library), "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def interposer() -> ctypes.CDLL:
    """Return the functions of interpose.c."""
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    library.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    library.faults_calls.restype = ctypes.c_long
    return library


def preload() -> None:
    """Import what commands import, but differentiate nothing: autograd refuses to work after a fork of a process that has."""
    from nucleate.crystals import parse_formula
    from nucleate.generate import make_generator
    from nucleate.generate.settings import GenerateSettings

    make_generator(parse_formula("Cu2"), GenerateSettings(workers=1))
    names = (
        "nucleate.api", "nucleate.cli.app", "nucleate.spins.api", "nucleate.spins.simulate.simulation", "nucleate.report.spins",
        "matplotlib.pyplot", "phonopy", "scipy.optimize", "scipy.stats", "ase.calculators.emt",
    )  # fmt: skip
    for name in names:
        if importlib.util.find_spec(name.partition(".")[0]) is not None:
            importlib.import_module(name)


def _command(words: list[str], patch: Callable[[], None], log: Path, invoices: Path) -> None:
    """Run a command in this forked process and end it as the interpreter would."""
    code: int | str | None = 1
    try:
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(log.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, stream)
        # A new process can be interrupted; a child of a background job cannot.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ |= {MARK: str(log), "FAULTS_INVOICES": str(invoices)}
        patch()
        sys.argv = ["nucleate", *words]
        from nucleate.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()
        with suppress(Exception):
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def clear(run: Path) -> None:
    """Remove a run folder and what was written beside it."""
    shutil.rmtree(run, ignore_errors=True)
    for suffix in (".paid", ".out", ".err", ".toml"):
        run.with_suffix(suffix).unlink(missing_ok=True)


def processes(log: Path) -> list[int]:
    """Return the processes of a command that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={log}\0".encode() in path.read_bytes() + b"\0":
                state = (path.parent / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX":
                    found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def command(
    words: list[str],
    log: Path,
    invoices: Path,
    *,
    patch: Callable[[], None] = lambda: None,
    folder: Path | None = None,
    kind: str = "count",
    at: int = 0,
    jump: int = 0,
    moment: float | None = None,
    sent: signal.Signals = signal.SIGKILL,
) -> Ended:
    """Run a command to its end, or until something happens to it.

    Args:
        words: arguments of `nucleate`.
        log: its output is written to this path with the suffixes .out and .err.
        invoices: file for the invoices of its calculations.
        patch: called in the process before the command.
        folder: folder whose writes are counted and fail.
        kind: what happens, one of `KINDS`.
        at: the write at which it happens, from 1.
        jump: seconds by which the clock jumps.
        moment: seconds after which a signal is sent; None: no signal is sent.
        sent: this signal.
    """
    library = interposer()
    log.parent.mkdir(parents=True, exist_ok=True)
    library.faults_arm(str(folder or "/nowhere").encode(), KINDS.index(kind), at if at else 2**62, jump)
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        _command(words, patch, log, invoices)
    status, signalled = None, False
    while status is None and time.monotonic() - began < LIMIT:
        done, found = os.waitpid(child, os.WNOHANG)
        if done:
            status = found
        elif moment is not None and not signalled and time.monotonic() - began >= moment:
            os.kill(child, sent)
            signalled = True
        else:
            time.sleep(0.002)
    calls, fired = library.faults_calls(), bool(library.faults_fired()) or signalled
    library.faults_disarm()
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    ended = time.monotonic()
    while (still := processes(log)) and time.monotonic() - ended < GONE:
        time.sleep(0.02)
    for process in still:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)
    files = [log.with_suffix(f".{name}") for name in ("out", "err")]
    out, err = (file.read_text(errors="replace") if file.exists() else "" for file in files)
    code = None if status is None else os.waitstatus_to_exitcode(status)
    return Ended(code, out, err, ended - began, calls, fired, len(still))
