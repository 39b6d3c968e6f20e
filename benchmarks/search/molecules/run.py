"""Searches of glycine on the force field mcGFN-FF, with the space groups of nature against uniform ones.

    OMP_NUM_THREADS=1 python benchmarks/search/molecules/run.py --units 2 --seeds 10

The molecule is the zwitterion from its SMILES. A hit is the confirmation of a polymorph within 1 meV/atom of the lowest one that any of the
searches with this number of molecules has confirmed. Finished searches are kept in --out; those that were stopped are resumed.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from os import getpid
from pathlib import Path

from targets import GLYCINE

from nucleate import api
from nucleate.csp.run_data import read_run
from nucleate.processes.workers import become_worker

SAME = 0.001
FIRST_SEED = 200


def search(units: int, weights: str, seed: int, out: Path, budget: int, pool: int) -> Path:
    """Run one search, or what is left of it; return its folder."""
    folder = out / f"Z{units}-{weights}-{seed}"
    settings = {"search": {"pool": pool, "budget": budget, "proof": False}, "relax": {"workers": 1}, "generate": {"workers": 1}}
    api.search(
        molecules=[GLYCINE], units=units, reference="gfnff", space_group_weights=weights, seed=seed, settings=settings, out=folder,
    )  # fmt: skip
    return folder


def main() -> None:
    """Run all searches and print the calls until the lowest form."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="*", default=[2])
    parser.add_argument("--weights", nargs="*", default=["nature", "uniform"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--pool", type=int, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/glycine"))
    parser.add_argument("--result", type=Path, default=Path(__file__).parent / "result.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tasks = [(units, weights, FIRST_SEED + k) for units in options.units for k in range(options.seeds) for weights in options.weights]
    with ProcessPoolExecutor(options.workers, get_context("spawn"), become_worker, (getpid(),)) as pool:
        futures = [pool.submit(search, *task, options.out, options.budget, options.pool) for task in tasks]
        for task, future in zip(tasks, futures, strict=True):
            print(*task, row_text(future.result()), flush=True)
    rows = [row(*task, options.out / f"Z{task[0]}-{task[1]}-{task[2]}") for task in tasks]
    options.result.write_text(json.dumps({"budget": options.budget, "pool": options.pool, "rows": rows}, indent=1) + "\n")
    for units in options.units:
        mine = [row for row in rows if row["units"] == units]
        lowest = min(energy for row in mine for energy, *_ in row["confirmed"])
        for weights in options.weights:
            hits = [first_hit(row, lowest) for row in mine if row["weights"] == weights]
            print(f"Z = {units}, {weights}: calls to {lowest:.4f} eV/atom: {hits}")


def row(units: int, weights: str, seed: int, folder: Path) -> dict:
    """Return the confirmed polymorphs of a search: energy (eV/atom), space group and calls at the confirmation."""
    run = read_run(folder)
    return {
        "units": units, "weights": weights, "seed": seed, "calls": run.calls, "finished": run.state.finished,
        "molecule_calls": sum(1 for item in run.rows if item.purpose == "molecule"),
        "seconds": round(sum(sum(record.seconds.values()) for record in run.state.records), 1),
        "confirmed": [[round(p.energy, 6), p.number, p.calls, p.check] for p in sorted(run.state.polymorphs, key=lambda p: p.calls)],
    }  # fmt: skip


def first_hit(row: dict, lowest: float) -> int | None:
    """Return the calls at the first polymorph within 1 meV/atom of the lowest energy; None if there is none."""
    return next((calls for energy, _, calls, _ in row["confirmed"] if energy < lowest + SAME), None)


def row_text(folder: Path) -> str:
    """Return a line about a search."""
    run = read_run(folder)
    best = min(run.state.polymorphs, key=lambda p: p.energy, default=None)
    return f"{run.calls} calls, {len(run.state.polymorphs)} polymorphs, lowest " + (
        "none" if best is None else f"{best.energy:.4f} {best.space_group} after {best.calls}"
    )


if __name__ == "__main__":
    main()
