"""Interrupts that code of other packages discards, and batch systems that end a job."""

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

from nucleate.processes.interrupts import check, listening


def dropped_and_checked(things):
    things.clear()
    things.append("dropped")
    check()


def test_an_interrupt_in_a_destructor_is_raised_later_and_not_printed(capsys):
    class Thing:
        pass

    def callback(reference):
        os.kill(os.getpid(), signal.SIGINT)
        # The handler runs before this loop has ended.
        for _ in range(1000):
            pass

    thing = Thing()
    kept = weakref.ref(thing, callback)
    things = [thing]
    del thing
    with pytest.raises(KeyboardInterrupt), listening():
        dropped_and_checked(things)
    assert things == ["dropped"]
    assert kept() is None
    assert "KeyboardInterrupt" not in capsys.readouterr().err


def test_other_errors_in_destructors_are_printed_as_before(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: shown.append(raised.exc_type))

    class Thing:
        def __del__(self):
            raise ZeroDivisionError

    with listening():
        Thing()
    assert shown == [ZeroDivisionError]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_every_verb_ends_in_one_line_when_a_batch_system_ends_it(tmp_path, number):
    words = [
        "-m",
        "nucleate",
        "electrons",
        "sample",
        "--material",
        "Al",
        "--atoms",
        "32",
        "--snapshots",
        "1000",
        "--out",
        str(tmp_path / "al"),
    ]
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # The verb handles SIGTERM from its beginning; a process does not.
    handled, deadline = 0, time.monotonic() + 60
    while not handled >> (signal.SIGTERM - 1) & 1 and time.monotonic() < deadline:
        time.sleep(0.02)
        status = Path(f"/proc/{child.pid}/status").read_text()
        handled = int(status.partition("SigCgt:")[2].split()[0], 16)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped" in err
