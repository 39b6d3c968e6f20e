"""Parsl's interchange in a session of its own: an interrupt in the terminal does not end it, and it ends with the search.

Without the session Ctrl-C would end the interchange before the search has given its blocks back; without the watch it would listen for ever
after the search was killed. Started as `python -m nucleate.reference.cluster.interchange`; imports nothing of nucleate.
"""

import os
import runpy
import threading
import time

POLL = 0.5
"""Time between two checks whether the search is alive, s."""


def _end_with(leader: int) -> None:
    while os.getppid() == leader:
        time.sleep(POLL)
    os._exit(1)


if __name__ == "__main__":
    os.setsid()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")
