"""Interrupt the generator at random moments, again and again; print how often it went on all the same.

    python interrupted_runs.py TIMES SEED

Children are forked from this process, which has imported everything: the moments fall into the making of candidates.
"""

import os
import random
import signal
import sys
import time

import numpy as np

from nucleate.generate import make_generator
from nucleate.generate.settings import GenerateSettings
from nucleate.processes.interrupts import check, listening

LATE = 5.0  # seconds; what is no longer one call of a package


def generate():
    """Without end; as a search does, which hears at its next event what a package or a destructor swallowed."""
    with listening():
        while True:
            make_generator({"Al": 2, "O": 3}, GenerateSettings(workers=1)).propose(10, np.random.default_rng(0))
            check()


def interrupted(seconds):
    """Exit code of a child that generates and is interrupted after so long; None for one that goes on."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            generate()
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)
    time.sleep(seconds)
    os.kill(child, signal.SIGINT)
    deadline = time.monotonic() + LATE
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main():
    moments = random.Random(int(sys.argv[2]))
    codes = [interrupted(moments.uniform(0.05, 1.5)) for _ in range(int(sys.argv[1]))]
    print(sum(code != 130 for code in codes), codes)


if __name__ == "__main__":
    main()
