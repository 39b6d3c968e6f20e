"""Interrupts that are not lost in other packages' exception handlers.

Python turns SIGINT into an exception at whatever line runs at that moment. Packages catch everything there (`except:`), and the
interpreter drops what is raised in callbacks and destructors: the interrupt is lost and the work goes on. So it is also written down,
and raised again at the next `check`, or at the end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_heard = False
_listening = False


def _hear(number: int, frame: FrameType | None) -> None:
    global _heard
    _heard = True
    raise KeyboardInterrupt


def check() -> None:
    """Raise `KeyboardInterrupt` for an interrupt that was heard and swallowed since; does nothing outside of `listening`."""
    if _heard and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


@contextmanager
def listening() -> Iterator[None]:
    """Within this, no interrupt is lost: it is raised at once, again at every `check`, and at the end whatever else was raised instead.

    Signals that are ignored or have a handler of somebody else's are left alone, and so are threads other than the main one. Contexts
    may be nested; the outermost one counts.

    Raises:
        KeyboardInterrupt: there was one.
    """
    global _heard, _listening
    if _listening or threading.current_thread() is not threading.main_thread():
        yield
        check()
        return
    # SIGTERM as well where the command line has made it an interrupt.
    ours = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.default_int_handler]
    _heard, _listening = False, True
    for number in ours:
        signal.signal(number, _hear)
    try:
        yield
    except BaseException as error:
        if _heard and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    else:
        check()
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
        _heard = _listening = False
