"""The process from which workers are forked.

`multiprocessing` imports this module in the process of its method `forkserver`, and torch after it if the leader has imported torch.
"""

import gc
import os
import signal
from contextlib import suppress

from nucleate.processes.workers import THREAD_VARIABLES

# Ctrl-C in the terminal reaches neither this process nor the workers that it forks.
with suppress(OSError):
    os.setsid()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

# A process with threads must not be forked. numpy's library starts its threads when it is imported, torch starts them later.
_before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))

import numpy  # noqa: E402, F401

for _name, _value in _before.items():
    if _value is None:
        del os.environ[_name]
    else:
        os.environ[_name] = _value

# A collection of garbage writes to every object it looks at, and a worker would copy all pages that it shares with this process.
os.register_at_fork(before=gc.freeze)
