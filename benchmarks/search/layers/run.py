"""Calls until a known layer is confirmed, from random layers.

    OMP_NUM_THREADS=1 python benchmarks/search/layers/run.py --seeds 10

The layers are recognised by their layer groups. Finished searches are kept in --out; those that were stopped are resumed.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls
from nucleate.csp.run_data import read_run
from nucleate.processes.pools import worker_pool

LAYERS = {"C2": ("graphene", 80), "BN": ("h-BN", 78), "MoS2": ("1H-MoS2", 78)}
FIRST_SEED = 300
BUDGET, POOL = 150, 100


def search(formula: str, seed: int, out: Path) -> dict[str, Any]:
    """Run one search, or what is left of it; return the calls until the named layer, and whether it is the lowest."""
    folder = out / f"{formula}-{seed}"
    settings = {"search": {"pool": POOL, "budget": BUDGET, "proof": False}, "relax": {"workers": 1}, "generate": {"workers": 1}}
    api.search(formula, dimensions=2, reference="chgnet", seed=seed, settings=settings, out=folder)
    run = read_run(folder)
    name, group = LAYERS[formula]
    calls = [polymorph.calls for polymorph in run.state.polymorphs if polymorph.number == group]
    lowest = run.state.minima()[0] if run.state.minima() else None
    return {
        "layer": name, "formula": formula, "seed": seed, "first": min(calls, default=None), "calls": run.calls,
        "lowest": None if lowest is None else lowest.number,
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| layer | group | seeds | hits | lowest of its search | ERT | calls of the seeds |", "|---|---|---|---|---|---|---|"]
    for formula, (name, group) in LAYERS.items():
        rows = [row for row in data["rows"] if row["formula"] == formula]
        if not rows:
            continue
        ert = expected_calls([(row["first"] or row["calls"], row["first"] is not None) for row in rows])
        hits = sum(row["first"] is not None for row in rows)
        lowest = sum(row["lowest"] == group for row in rows)
        calls = ", ".join(str(row["first"]) if row["first"] is not None else "none" for row in rows)
        lines.append(f"| {name} | {group} | {len(rows)} | {hits} | {lowest} | {'none' if ert is None else f'{ert:.0f}'} | {calls} |")
    return "\n".join(lines)


def main() -> None:
    """Run all searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path("runs/layers"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    result = ResultFile(options.result, {"reference": "chgnet", "budget": BUDGET, "pool": POOL}, ("chgnet",))
    tasks = [(formula, FIRST_SEED + k) for formula in LAYERS for k in range(options.seeds)]
    tasks = [task for task in tasks if result.find(formula=task[0], seed=task[1]) is None]
    with worker_pool(options.workers) as pool:
        futures = [pool.submit(search, *task, options.out) for task in tasks]
        for future in futures:
            result.add(**future.result())
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
