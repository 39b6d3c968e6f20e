"""Labels per second in blocks of a Slurm on this machine, for 1 to 64 workers, and the largest rates of the queue and of the ledger.

    OMP_NUM_THREADS=1 python benchmarks/cluster/run.py                             # labels of 2 s, 1 to 64 workers, and the largest rates
    OMP_NUM_THREADS=1 python benchmarks/cluster/run.py --seconds 30 --workers 16 64

Starts munged, slurmctld and slurmd in a temporary folder, as root. The node states more cores than the machine has, and the labels
sleep: the workers are simulated, but Slurm, Parsl, the spool and the ledger are those of a search. The workers of a row are in one
block. The time of a row begins when every worker has returned a label; the time from the first submission until then is given apart.
There are 20 labels for each worker.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from sleeping import Sleeping

from nucleate.benchmark.result_file import ResultFile
from nucleate.reference.base import content_hash
from nucleate.reference.cluster.executor import ClusterExecutor
from nucleate.reference.cluster.settings import cluster_settings
from nucleate.reference.dispatch import Dispatcher
from nucleate.reference.ledger import Ledger

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORES = 64
"""Cores that the node of Slurm states."""
LABELS = 20
"""Labels of each worker."""
MANY = 1000
"""Calls of the largest rates."""
STARTING = 600.0
"""Largest time that the workers may take to start, s."""


def structures(count: int, first: int) -> list[Atoms]:
    """Return different structures of one atom."""
    return [Atoms("Cu", cell=np.eye(3) * (3 + 1e-4 * (first + k)), pbc=True) for k in range(count)]


@contextmanager
def blocks(workers: int, folder: Path) -> Iterator[ClusterExecutor]:
    """Context with an executor of one block."""
    settings = {
        "block": {
            "partition": "main", "walltime": "02:00:00", "workers_per_node": workers,
            "setup": [f"export PYTHONPATH={ROOT / 'src'}:{HERE}", "export PYTHONDONTWRITEBYTECODE=1"],
        },
        "connection": {"interface": "lo", "heartbeat": 10, "silence": 240, "poll": 1.0},
    }  # fmt: skip
    executor = ClusterExecutor(cluster_settings(settings, "benchmark"), folder / "blocks", "benchmark")
    try:
        yield executor
    finally:
        executor.shutdown()


def all_started(dispatcher: Dispatcher, workers: int) -> float:
    """Label until every worker has returned one; return how long it took, s."""
    began, seen, first = time.monotonic(), set[int](), 10**6
    while len(seen) < workers:
        answers = dispatcher.label_many(structures(workers, first), "start", 0)
        seen |= {answer.details["worker"] for answer in answers}  # type: ignore[union-attr]
        first += workers
        if time.monotonic() - began > STARTING:
            raise SystemExit(f"only {len(seen)} of {workers} workers started within {STARTING:g} s")
    return time.monotonic() - began


def row(workers: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Measure one row."""
    ledger = Ledger(folder / "run.db")
    with blocks(workers, folder) as executor:
        start = all_started(Dispatcher(Sleeping(1.0), ledger, executor=executor), workers)
        began = time.monotonic()
        answers = Dispatcher(Sleeping(seconds), ledger, executor=executor).label_many(structures(LABELS * workers, 0), "row", 1)
        wall = time.monotonic() - began
        cost = executor.blocks.cost()
    counts = np.unique([answer.details["worker"] for answer in answers], return_counts=True)[1]  # type: ignore[union-attr]
    attempts = sum(each.attempts - 1 for each in ledger.rows())
    return {
        "workers": workers, "seconds": seconds, "labels": len(answers), "wall": round(wall, 3), "start": round(start, 1),
        "workers_used": len(counts), "fewest": int(counts.min()), "repeated": attempts, "load": round(os.getloadavg()[0], 1),
        "block_core_seconds": None if cost is None else round(cost["core_seconds"], 1),
    }  # fmt: skip


def rates(workers: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Measure the largest rates: empty tasks through the queue, labels of no duration through all parts, and the ledger alone."""
    ledger = Ledger(folder / "run.db")
    with blocks(workers, folder) as executor:
        all_started(Dispatcher(Sleeping(1.0), ledger, executor=executor), workers)
        began = time.monotonic()
        for future in [executor.submit(shlex.quote, "") for _ in range(MANY)]:
            future.result()
        yield {"rate": "queue", "workers": workers, "calls": MANY, "wall": round(time.monotonic() - began, 3)}
        began = time.monotonic()
        Dispatcher(Sleeping(0.0), ledger, executor=executor).label_many(structures(MANY, 0), "row", 1)
        yield {"rate": "labels", "workers": workers, "calls": MANY, "wall": round(time.monotonic() - began, 3)}
    reference = Sleeping(0.0)
    alone = Ledger(folder / "alone.db")
    label = reference.label(structures(1, 0)[0])
    keys = [(content_hash(atoms, reference.settings()), atoms) for atoms in structures(MANY, 0)]
    began = time.monotonic()
    for key, atoms in keys:
        alone.begin(key, atoms, reference.name, reference.settings(), "row", 0)
        alone.finish(key, label, 0.0)
    yield {"rate": "ledger", "workers": None, "calls": MANY, "wall": round(time.monotonic() - began, 3)}


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    lines = ["| time of a label | workers | labels | labels/s | efficiency | start of the workers |", "|" + "---|" * 6]
    rows = [row for row in data["rows"] if "rate" not in row]
    for each in sorted(rows, key=lambda row: (row["seconds"], row["workers"])):
        ideal = each["labels"] * each["seconds"] / each["workers"]
        lines.append(
            f"| {each['seconds']:g} s | {each['workers']} | {each['labels']} | {each['labels'] / each['wall']:.2f} | "
            f"{100 * ideal / each['wall']:.1f} % | {each['start']:.0f} s |"
        )
    names = {
        "queue": "empty tasks through Parsl, {workers} workers",
        "labels": "labels of no duration through Parsl, spool and ledger, {workers} workers",
        "ledger": "starts and results written into the ledger alone",
    }
    found = [row for row in data["rows"] if "rate" in row]
    if found:
        lines += ["", "| largest rate | calls/s |", "|---|---|"]
        lines += [f"| {names[each['rate']].format(**each)} | {each['calls'] / each['wall']:.0f} |" for each in found]
    return "\n".join(lines)


def main() -> None:
    """Run and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--seconds", type=float, default=2.0, help="time of a label, s")
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from tests.cluster.slurm_here import Slurm, missing

    if (reason := missing()) is not None:
        raise SystemExit(reason)
    result = ResultFile(a.result, {"labels_per_worker": LABELS, "stated_cores": CORES, "calls": MANY}, ("parsl",))
    place = Path(tempfile.mkdtemp(prefix="blocks-"))
    try:
        with Slurm(place / "slurm", cpus=CORES):
            for workers in a.workers:
                if result.find(workers=workers, seconds=a.seconds) is None:
                    folder = place / f"{workers}-{a.seconds:g}"
                    folder.mkdir()
                    result.add(**row(workers, a.seconds, folder))
                    print(result.rows[-1], flush=True)
            if a.seconds == 2.0 and result.find(rate="queue") is None:
                folder = place / "rates"
                folder.mkdir()
                for each in rates(16, folder):
                    result.add(**each)
                    print(each, flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
