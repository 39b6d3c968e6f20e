"""Time valid symmetric cells: nucleate's generator and, in the same run, plain PyXtal one at a time.

    OMP_NUM_THREADS=1 python benchmarks/search/generation/run.py [--formula Al4O6] [--n 1000] [--workers 2] [--pyxtal 30]

Prints one JSON line. PyXtal draws its space groups from the same list and gets the same smallest
distances; its volume is its own estimate times the same factors. A failed try counts towards
its time, as it does for a user.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from nucleate.crystals.formula import parse_formula
from nucleate.generate import GenerateSettings, SymmetricGenerator


def time_nucleate(counts: dict[str, int], n: int, workers: int, seed: int) -> dict[str, float]:
    began = time.perf_counter()
    generator = SymmetricGenerator(counts, GenerateSettings(workers=workers))
    ready = time.perf_counter()
    made = generator.propose(n, np.random.default_rng(seed))
    done = time.perf_counter()
    groups = len({c.details["space_group"] for c in made})
    return {
        "setup_s": ready - began,
        "propose_s": done - ready,
        "ms_each": (done - began) / n * 1e3,
        "groups": groups,
    }


def time_pyxtal(counts: dict[str, int], n: int, seed: int) -> dict[str, float]:
    from pyxtal import pyxtal
    from pyxtal.tolerance import Tol_matrix

    generator = SymmetricGenerator(counts, GenerateSettings())
    packing = generator.builder.packing
    pairs = [
        (a, b, float(packing.min_distances[i, j])) for i, a in enumerate(packing.symbols) for j, b in enumerate(packing.symbols) if i <= j
    ]
    tolerances = Tol_matrix(*pairs, prototype="atomic")
    rng = np.random.default_rng(seed)
    made = tried = 0
    slowest = 0.0
    began = time.perf_counter()
    while made < n and tried < 20 * n:
        tried += 1
        number = int(rng.choice(generator.space_groups))
        start = time.perf_counter()
        crystal = pyxtal()
        try:
            crystal.from_random(
                3,
                number,
                list(counts),
                list(counts.values()),
                factor=float(rng.uniform(0.9, 1.4)),
                conventional=False,
                tm=tolerances,
                random_state=rng,
            )
        except Exception as error:  # whatever it raises, it made no structure
            print(f"PyXtal, space group {number}: {type(error).__name__}: {error}")
        made += bool(crystal.valid)
        slowest = max(slowest, time.perf_counter() - start)
    seconds = time.perf_counter() - began
    return {"made": made, "tried": tried, "ms_each": seconds / max(made, 1) * 1e3, "slowest_s": slowest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--formula", default="Al4O6")
    parser.add_argument("--n", type=int, default=1000, help="cells from nucleate")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pyxtal", type=int, default=30, help="cells from plain PyXtal; 0 leaves it out")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    counts = parse_formula(asked.formula)
    result: dict = {
        "benchmark": "generation",
        "formula": asked.formula,
        "n": asked.n,
        "workers": asked.workers,
    }
    result["nucleate"] = time_nucleate(counts, asked.n, asked.workers, asked.seed)
    if asked.pyxtal:
        result["pyxtal"] = time_pyxtal(counts, asked.pyxtal, asked.seed)
        result["times_faster"] = result["pyxtal"]["ms_each"] / result["nucleate"]["ms_each"]
    print(json.dumps(result, default=float))


if __name__ == "__main__":
    main()
