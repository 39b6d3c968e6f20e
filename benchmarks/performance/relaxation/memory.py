"""Peak memory of relaxing a pool: 1000 random Si16 cells on the committee of four.

    OMP_NUM_THREADS=1 python benchmarks/performance/relaxation/memory.py [--n 1000] [--steps 40]

Prints one JSON line. The peak is that of the whole process, as the operating system counts it, imports and
generation included; `before` is the peak just before the relaxation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from run import random_silicon, settings, trained

from nucleate.relax.batched import relax


def peak_gib() -> float:
    """Linux counts kibibytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--capacity", type=int, default=0, help="atoms side by side; 0: as the settings have it")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    structures = random_silicon(asked.n, asked.seed)
    model = trained(random_silicon(20, asked.seed + 1), 4)
    chosen = settings("lbfgs", asked.steps)
    if asked.capacity:
        chosen = chosen.model_copy(update={"capacity": asked.capacity})
    before = peak_gib()
    began = time.process_time()
    ends = relax(structures, model, chosen)
    seconds = time.process_time() - began
    result = {
        "benchmark": "memory",
        "n": asked.n,
        "atoms": sum(len(atoms) for atoms in structures),
        "capacity": chosen.capacity,
        "steps": asked.steps,
        "peak_gib": peak_gib(),
        "before_gib": before,
        "structure_steps_per_cpu_second": sum(end.steps for end in ends) / seconds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
