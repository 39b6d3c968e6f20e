"""Calls of whole searches of small cells: until the lowest polymorph was confirmed, and until the stopping criterion ended them.

    OMP_NUM_THREADS=1 python benchmarks/search/ending/run.py --seeds 2

Default settings on CHGNet (a surrogate), without prototypes. The lowest state of a formula is the lowest polymorph of any search in the
result file. Run folders are kept in --out, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nucleate.api import search
from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.run_data import read_run

FORMULAS = ["Mg2", "Cu4", "Na2Cl2", "Al2N2", "Si4", "K2F2", "Ti2O4", "Li4O2"]
SAME = 0.005
"""Largest height of a polymorph above the lowest known one that counts as the lowest state, eV/atom."""


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    arms = list(dict.fromkeys(row["arm"] for row in data["rows"]))
    lines = ["| formula | stopping criterion | calls to the lowest state | calls at the end | polymorphs |", "|" + "---|" * 5]
    formulas = list(dict.fromkeys(row["formula"] for row in data["rows"]))
    for formula in formulas:
        mine = [row for row in data["rows"] if row["formula"] == formula]
        lowest = min((row["lowest"] for row in mine if row["lowest"] is not None), default=0.0)
        for arm in arms:
            rows = [row for row in mine if row["arm"] == arm]
            hits = [str(row["hit"]) if row["lowest"] is not None and row["lowest"] < lowest + SAME else "none" for row in rows]
            ends = [f"{'' if row['ended'] else '> '}{row['calls']}" for row in rows]
            if rows:
                lines.append(
                    f"| {formula} | {arm} | {', '.join(hits)} | {', '.join(ends)} | {', '.join(str(row['found']) for row in rows)} |"
                )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", nargs="+", default=FORMULAS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--top", type=int, default=1)
    parser.add_argument("--arm", default="now", help="name of the state of the package in the table")
    parser.add_argument("--out", type=Path, default=Path("runs/ending"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = {"reference": {"engine": "chgnet"}, "relax": {"workers": 1}, "generate": {"workers": 1, "prototype_share": 0.0}}
    settings["search"] = {"top": a.top}
    result = ResultFile(a.result, {"reference": "chgnet", "budget": a.budget}, ("chgnet",))
    for formula in a.formulas:
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            if result.find(arm=a.arm, formula=formula, seed=seed) is not None:
                continue
            folder = a.out / f"{a.arm}-{formula}-{seed}"
            search(formula, out=folder, settings=settings, seed=seed, budget=a.budget)
            run = read_run(folder)
            minima = run.state.minima()
            lowest = min((polymorph.energy for polymorph in minima), default=None)
            hit = min((polymorph.calls for polymorph in minima if polymorph.energy < lowest + SAME), default=None)
            result.add(
                arm=a.arm, formula=formula, seed=seed, calls=run.calls, hit=hit, lowest=lowest, found=len(minima), rounds=run.state.round,
                ended=run.calls < a.budget, why=run.state.finished,
            )  # fmt: skip
            print(formula, seed, run.calls, hit, run.state.finished, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
