"""What a wrong teacher costs: the same searches without a teacher and with one that is wrong, seed by seed.

    python benchmarks/search/bad_teachers/run.py

The two are ASE's Lennard-Jones potential with its default parameters, and a model that a search on CHGNet at 150 GPa has trained. Every
finished search is kept in --out, and a stopped run resumes. The settings are the defaults, and each search ends at its first hit.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.run import UnitDone, benchmark
from nucleate.benchmark.statistics import expected_calls, interval
from nucleate.progress import Event

SYSTEMS = ["Si8", "Al4O6", "Na8Cl8", "Ga8As8", "Si16"]
NONE, PAIR, COMPRESSED = "none", "Lennard-Jones", "model of CHGNet at 150 GPa"
KEPT = ("seed", "first", "calls", "seconds", "ended", "teacher_evaluations")
"""Entries of a search in the result file."""
PRESSURE = 150.0
"""Pressure at which the second model is trained, GPa."""


def ratios(rows: list[dict[str, Any]], teacher: str, system: str) -> list[float]:
    """Return calls with the teacher divided by calls without, for each seed that has both; a search without a hit counts all its calls."""
    calls = {(row["teacher"], row["seed"]): row["calls"] for row in rows if row["system"] == system}
    seeds = sorted({seed for _, seed in calls})
    return [calls[teacher, seed] / calls[NONE, seed] for seed in seeds if (teacher, seed) in calls and (NONE, seed) in calls]


def geometric(values: list[float]) -> str:
    """Return the geometric mean of some ratios with its 95 % bootstrap interval."""
    logarithms = np.log(values)
    low, high = interval(len(values), lambda drawn: float(np.exp(logarithms[drawn].mean())))
    return f"{np.exp(logarithms.mean()):.2f} ({low:.2f}-{high:.2f})"


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    rows = data["rows"]
    lines = ["| wrong teacher | system | seeds | hits | ERT | ERT without | ratio, 95 % | ratios of the seeds |", "|" + "---|" * 8]
    for teacher in (PAIR, COMPRESSED):
        every: list[float] = []
        for system in SYSTEMS:
            found = ratios(rows, teacher, system)
            if not found:
                continue
            every += found
            mine, without = ([row for row in rows if row["system"] == system and row["teacher"] == name] for name in (teacher, NONE))
            calls = [expected_calls([(row["calls"], row["first"] is not None) for row in runs]) for runs in (mine, without)]
            ert = " | ".join("none" if value is None else f"{value:.0f}" for value in calls)
            hits = f"{sum(row['first'] is not None for row in mine)} of {len(mine)}"
            each = ", ".join(f"{ratio:.2f}" for ratio in found)
            lines.append(f"| {teacher} | {system} | {len(found)} | {hits} | {ert} | {geometric(found)} | {each} |")
        if every:
            lines.append(f"| {teacher} | all | {len(every)} | | | | {geometric(every)} | |")
    return "\n".join(lines)


def compressed_model(system: str, out: Path) -> Path:
    """Return the model of a search on CHGNet at high pressure, which is run if there is none yet."""
    folder = out / "compressed" / system
    if folder.exists():
        # A finished search is not continued.
        api.resume(folder)
    else:
        given = {"reference": {"engine": "chgnet"}, "pressure": PRESSURE, "search": {"budget": 100, "check": False, "proof": False}}
        api.search(system, settings=given, prototypes=False, out=folder)
    return sorted((folder / "models").glob("*.safetensors"))[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--teachers", nargs="+", default=[NONE, PAIR, COMPRESSED])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/bad_teachers"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": "chgnet", "budget": a.budget}, ("chgnet",))

    def progress(event: Event) -> None:
        if isinstance(event, UnitDone):
            print(event.name, event.result["first"], flush=True)

    for system in a.systems:
        for teacher in a.teachers:
            settings: dict[str, Any] = {}
            if teacher == PAIR:
                settings = {"teacher": {"name": "ase:ase.calculators.lj:LennardJones"}}
            elif teacher == COMPRESSED:
                settings = {"teacher": {"model_from": str(compressed_model(system, a.out))}}
            out = a.out / teacher.replace(" ", "_")
            seeds = list(range(100, 100 + a.seeds))
            report = benchmark(system, "chgnet", seeds, a.budget, settings, workers=a.workers, out=out, progress=progress)
            for run in report["nucleate"]["runs"]:
                if result.find(teacher=teacher, system=system, seed=run["seed"]) is None:
                    result.add(teacher=teacher, system=system, **{name: run[name] for name in KEPT})
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
