"""Start of worker processes: forked from a template, as nucleate does it, beside processes that are spawned.

    OMP_NUM_THREADS=1 python benchmarks/performance/workers/run.py

Two pools, one after the other, of workers that import what a relaxation needs. For both: time until all workers have answered, processor
time of all their processes, and the memory of all processes below the leader while the workers of the second pool live, in which a page
that n processes share counts 1/n for each. Each row is the median of five runs in programs of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from nucleate.processes import pools
from nucleate.processes.pools import worker_pool
from nucleate.processes.workers import _descendants

RUNS = 5


def load(_: int) -> None:
    """Import what a worker of relaxations does, and wait until the others are there as well."""
    import nucleate.relax.parallel  # noqa: F401

    time.sleep(0.5)


def memory(pid: int) -> float:
    """Proportional set size, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def processor_seconds() -> float:
    """Processor time of all living descendants and of the ended ones, s."""
    ticks = 0
    for pid in [os.getpid(), *_descendants(os.getpid())]:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[13:15] if pid == os.getpid() else fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def once(spawned: bool, workers: int) -> list[list[float]]:
    """Return the seconds, processor seconds and memory of two pools, one after the other."""
    # As the leader of a search has, but not this module, which its workers import again.
    import torch  # noqa: F401

    if spawned:
        pools._processes_can_be_watched = lambda: False
    rows = []
    for _ in range(2):
        began, before = time.monotonic(), processor_seconds()
        with worker_pool(workers) as pool:
            list(pool.map(load, range(workers)))
            rows.append([time.monotonic() - began - 0.5, processor_seconds() - before, sum(map(memory, _descendants(os.getpid())))])
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--one", choices=["spawned", "forked"], help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(once(a.one == "spawned", a.workers[0])))
        return
    print("| workers | processes | first pool: s, processor s | second pool: s, processor s | MiB |\n|---|---|---|---|---|")
    for workers in a.workers:
        for how in ("spawned", "forked"):
            command = [sys.executable, __file__, "--one", how, "--workers", str(workers)]
            runs = [json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(RUNS)]
            first, second = np.median(np.array(runs), axis=0)
            print(
                f"| {workers} | {how} | {first[0]:.2f}, {first[1]:.2f} | {second[0]:.2f}, {second[1]:.2f} | {second[2]:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
