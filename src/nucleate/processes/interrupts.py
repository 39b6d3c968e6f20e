"""Handling of interrupts that does not lose them in exception handlers of other packages.

Python raises `KeyboardInterrupt` at the line that is running when SIGINT arrives. If that line is inside a bare `except:` of another
package, or in a callback or destructor, the exception is discarded and the program continues. The handler here therefore records the
interrupt as well, and `KeyboardInterrupt` is raised again at the next `check` or at the end of the `listening` block.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_received = False
_listening = False


def _record(number: int, frame: FrameType | None) -> None:
    """Record the interrupt and raise `KeyboardInterrupt` (signal handler)."""
    global _received
    _received = True
    raise KeyboardInterrupt


def check() -> None:
    """Raise `KeyboardInterrupt` if an interrupt has been received inside the current `listening` block."""
    if _received and threading.current_thread() is threading.main_thread():
        raise KeyboardInterrupt


def answered() -> None:
    """Forget the interrupt that has been received: it was the request that the program has followed, such as to end a server."""
    global _received
    _received = False


@contextmanager
def listening() -> Iterator[None]:
    """Context in which no interrupt is lost: it is raised at once, at every later `check`, and at the end of the block.

    Python's report of an interrupt that a destructor discarded is not printed, since nothing is lost.
    Signals that are ignored or have another handler are not changed, and the context does nothing in threads other than the main one.
    Contexts may be nested; only the outermost one installs a handler.

    Raises:
        KeyboardInterrupt: an interrupt was received in the block, even if another exception was raised in its place.
    """
    global _received, _listening
    if _listening or threading.current_thread() is not threading.main_thread():
        yield
        check()
        return
    # The command line may have made SIGTERM an interrupt as well.
    ours = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is signal.default_int_handler]
    _received, _listening = False, True
    shown = sys.unraisablehook
    for number in ours:
        signal.signal(number, _record)
    sys.unraisablehook = lambda raised: None if raised.exc_type is KeyboardInterrupt else shown(raised)
    try:
        yield
    except BaseException as error:
        if _received and not isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    else:
        check()
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
        sys.unraisablehook = shown
        _received = _listening = False


@contextmanager
def interrupts_delayed() -> Iterator[None]:
    """Context in which SIGINT and SIGTERM wait until its end, for clearing up that must not be cut short.

    Blocking the signals in this thread would not do: another thread may receive them, and Python runs their handlers in the main one.
    The context does nothing in other threads. Signals that are ignored, or whose handler was not set by Python, are not changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = {number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)}
    for number in held:
        signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
