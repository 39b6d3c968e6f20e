"""What operators on whole molecules save: searches of urea with random crystals alone, and with half children, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/search/molecular_evolution/run.py --seeds 5

The molecule is that of a SMILES, two of them are in the cell, and mcGFN-FF is the reference; both strategies have the same budget of calls,
which includes those for the isolated molecule. The committee is that of the tutorial. Every finished search is a row, and a stopped run
resumes. A hit is the confirmation of a polymorph within 1 meV/atom of the lowest one that any of the searches has confirmed; beside it
stands the known crystal, P-42_1m, which is not the lowest one on this force field.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls
from nucleate.csp.run_data import read_run

UREA = "NC(=O)N"
KNOWN = 113
"""International number of the space group of the known crystal, P-42_1m."""
SAME = 0.001
"""Energy above the lowest polymorph below which another one is a hit, eV/atom."""
SETTINGS: dict[str, Any] = {
    "search": {"pool": 40, "proof": False, "check": False, "quiet_rounds": 50, "max_rounds": 50},
    "model": {"members": 3, "channels": 8, "hidden": 16},
    "training": {"steps": 200, "warm_steps": 60},
    "generate": {"workers": 1},
    "relax": {"workers": 1},
}
STRATEGIES = ("random", "mixed", "evolution")


def search(strategy: str, seed: int, budget: int, folder: Path) -> dict[str, Any]:
    """Run one search; return its confirmed polymorphs (energy in eV/atom, space group, calls, origin), calls and CPU time."""
    settings = {**SETTINGS, "search": {**SETTINGS["search"], "budget": budget}, "evolution": {"strategy": strategy}}
    began = time.process_time()
    api.search(molecules=[UREA], units=2, reference="gfnff", seed=seed, settings=settings, out=folder)
    run = read_run(folder)
    polymorphs = sorted(run.state.polymorphs, key=lambda polymorph: polymorph.calls)
    return {
        "strategy": strategy, "seed": seed, "calls": run.calls, "cpu": round(time.process_time() - began, 1), "rounds": run.state.round,
        "confirmed": [[round(p.energy, 5), p.number, p.calls, p.origin] for p in polymorphs],
        "credit": {name: [round(c.children, 1), round(c.successes, 1)] for name, c in run.state.evolution.credit.items()},
    }  # fmt: skip


def first(row: dict[str, Any], wanted: Any) -> int | None:
    """Return the calls at the first confirmed polymorph for which `wanted(energy, number)` is true; None if there is none."""
    return next((calls for energy, number, calls, _ in row["confirmed"] if wanted(energy, number)), None)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lowest = min(energy for row in data["rows"] for energy, *_ in row["confirmed"])
    lines = [
        "| strategy | seeds | lowest crystal: hits | calls (ERT) | P-42_1m: hits | calls (ERT) | lowest confirmed, meV/atom | CPU s |",
        "|" + "---|" * 8,
    ]
    for strategy in STRATEGIES:
        rows = sorted((row for row in data["rows"] if row["strategy"] == strategy), key=lambda row: row["seed"])
        if not rows:
            continue
        cells = []
        for wanted in (lambda energy, _: energy < lowest + SAME, lambda _, number: number == KNOWN):
            hits = [first(row, wanted) for row in rows]
            expected = expected_calls([(hit or row["calls"], hit is not None) for hit, row in zip(hits, rows, strict=True)])
            listed = ", ".join("none" if hit is None else str(hit) for hit in hits)
            cells += [
                f"{sum(hit is not None for hit in hits)} of {len(rows)}",
                f"{listed} ({'none' if expected is None else f'{expected:.0f}'})",
            ]
        ends = [1e3 * (min((energy for energy, *_ in row["confirmed"]), default=np.nan) - lowest) for row in rows]
        cells.append(", ".join("none" if np.isnan(end) else f"{end:.1f}" for end in ends))
        seeds = f"{rows[0]['seed']}-{rows[-1]['seed']}"
        lines.append(f"| {strategy} | {seeds} | {' | '.join(cells)} | {np.mean([row['cpu'] for row in rows]):.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the searches and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=["random", "mixed"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=300)
    parser.add_argument("--budget", type=int, default=150)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"budget": a.budget, **SETTINGS}, ("gfnff", "rdkit"))
    # Seeds come first, so that a stopped run has all strategies of the same seeds.
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        for strategy in a.strategies:
            if result.find(strategy=strategy, seed=seed) is None:
                with tempfile.TemporaryDirectory() as folder:
                    row = search(strategy, seed, a.budget, Path(folder) / "run")
                result.add(**row)
                print(row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
