"""The process from which workers are forked.

`multiprocessing` imports this module in the process of its method `forkserver`, and torch after it if the leader has imported torch.
"""

import atexit
import gc
import json
import os
import signal
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

from nucleate.processes.workers import BEFORE

# Ctrl-C in the terminal reaches neither this process, once it has a session of its own, nor the workers that it forks. One that has
# arrived since the start, during which it is blocked, is dropped.
signal.signal(signal.SIGINT, signal.SIG_IGN)
with suppress(OSError):
    os.setsid()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
signal.signal(signal.SIGINT, signal.default_int_handler)

# numpy's library of linear algebra starts its threads when it is imported, for which the leader has set the variables: a process with
# threads must not be forked. torch starts them later.
import numpy  # noqa: E402, F401

for _name, _value in json.loads(os.environ.pop(BEFORE, "{}")).items():
    if _value is None:
        os.environ.pop(_name, None)
    else:
        os.environ[_name] = _value

# A collection of garbage writes to every object it looks at, and a worker would copy all pages that it shares with this process.
os.register_at_fork(before=gc.freeze)


@atexit.register
def _tidy() -> None:
    """Remove the socket and its folder, which a killed leader leaves."""
    socket = Path(str(getattr(forkserver._forkserver, "_forkserver_address", "")))
    if socket.parent.name.startswith("pymp-"):
        with suppress(OSError):
            socket.unlink()
        with suppress(OSError):
            socket.parent.rmdir()
