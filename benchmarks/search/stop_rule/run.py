"""When a search may end: calls and missed ground states with several stopping criteria, all from the same searches.

    OMP_NUM_THREADS=1 python benchmarks/search/stop_rule/run.py --seeds 2

Searches of small cells on CHGNet (a surrogate), without prototypes, go on for ten quiet rounds, of which clear ones count twice
(`search.clear_window`), or to the budget. Each round is kept with its calls, its lowest polymorph, and how many rounds were quiet and clear
until then, so that any criterion that would have ended the search earlier can be applied afterwards. The ground state of a formula is the
lowest polymorph of any search of it that is no saddle. A criterion that would have ended at a saddle is passed over, since the softest-mode
check continues such a search; the calls of the checks are not counted. The criterion was chosen on the formulas in TUNED; those in
HELD_OUT were run afterwards. A stopped run resumes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.plan import prepare
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.stages import run_search
from nucleate.persist.toml import to_toml

TUNED = [
    "Si4", "Mg2O2", "Al4O6", "Si2O4", "Mg4Si2", "Ti2O4", "Al2N2", "C4", "Mg2Si2O6", "Mg2Al4O8", "Na4O2", "Li4O2", "Ga2As2", "Zn2S2",
    "Cs2I2",
]  # fmt: skip
HELD_OUT = [
    "Cu4", "Si8", "Ca2F4", "SrTiO3", "Li2Al2O4", "Sn2O4", "Mo2S4", "Cu4O2", "Mg4Si2O8", "Ti4O8", "Al4N4", "Be2O2", "B4N4", "Ca2C2O6",
    "Na2Mg2F6",
]  # fmt: skip
CRITERIA = {
    "four quiet rounds": (4, 0), "three quiet rounds": (3, 0), "two quiet rounds": (2, 0), "one quiet round": (1, 0),
    "four, clear ones count twice": (4, 1), "four, clear ones count three times": (4, 2), "four, or a single clear one": (4, 3),
}  # fmt: skip
"""Number of rounds, and how often a clear one counts besides the first time."""
SAME = 0.005
"""Largest height of a polymorph above the ground state that counts as the ground state, eV/atom."""


def search(formula: str, seed: int, a: argparse.Namespace, result: ResultFile) -> None:
    """Run one search and add its row."""
    warnings.simplefilter("ignore")
    settings = settings_from_dict(
        {
            "formula": formula, "seed": seed, "reference": {"engine": "chgnet"}, "relax": {"workers": 1},
            "search": {"budget": a.budget, "quiet_rounds": 10, "proof": False, "accurate": False},
            "generate": {"workers": 1, "prototype_share": 0.0},
        },
        "benchmark settings",
    )  # fmt: skip
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        state = run_search(run, prepare(settings))
        calls = run.ledger.count()
    cpu = time.process_time() - cpu
    rounds = [[one.calls, round(one.best, 5), one.quiet, one.clear] for one in state.records if one.best is not None]
    saddles = [round(polymorph.energy, 5) for polymorph in state.polymorphs if polymorph.check == "saddle"]
    lowest = min((round(polymorph.energy, 5) for polymorph in state.minima()), default=None)
    result.add(
        formula=formula, seed=seed, calls=calls, ended=state.finished, cpu=round(cpu, 1), lowest=lowest, saddles=saddles, rounds=rounds
    )
    print(formula, seed, calls, state.finished, round(cpu), flush=True)


def end(row: dict[str, Any], needed: int, extra: int) -> tuple[int, float | None]:
    """Return the calls and the lowest polymorph (eV/atom) with which a criterion would have ended a search."""
    for calls, best, quiet, clear in row["rounds"]:
        if quiet + extra * clear >= needed and best not in row["saddles"]:
            return calls, best
    return row["calls"], row["lowest"]


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| formulas | searches | criterion | calls in all | relative | missed ground states |", "|" + "---|" * 6]
    for name, formulas in (("tuned on", TUNED), ("held out", HELD_OUT)):
        rows = [row for row in data["rows"] if row["formula"] in formulas]
        ground = {
            f: min((row["lowest"] for row in rows if row["formula"] == f and row["lowest"] is not None), default=0.0) for f in formulas
        }
        before = sum(end(row, *CRITERIA["four quiet rounds"])[0] for row in rows)
        for criterion, numbers in CRITERIA.items():
            ends = [(row["formula"], *end(row, *numbers)) for row in rows]
            calls = sum(made for _, made, _ in ends)
            missed = [formula for formula, _, best in ends if best is None or best > ground[formula] + SAME]
            names = f"{len(missed)} ({', '.join(missed)})" if missed else "0"
            lines.append(f"| {name} | {len(rows)} | {criterion} | {calls} | {100 * (calls / max(before, 1) - 1):+.0f} % | {names} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formulas", nargs="+", default=[*TUNED, *HELD_OUT])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=600)
    parser.add_argument("--budget", type=int, default=150)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": "chgnet", "budget": a.budget}, ("chgnet",))
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        for formula in a.formulas:
            if result.find(formula=formula, seed=seed) is None:
                search(formula, seed, a, result)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
