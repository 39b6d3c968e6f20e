"""Reference calls to the known ground state when a pretrained potential is searched first.

    python benchmarks/search/teachers/run.py --reference gpaw --teacher 7net-mf-0:PBE --systems Si8 Na4Cl4 Al4O6 --seeds 3 --budget 60
    python benchmarks/search/teachers/run.py --reference chgnet:r2scan --teacher 7net-0
    python benchmarks/search/teachers/run.py --reference gpaw --teacher 7net-mf-0:PBE --compressed --seeds 2 --budget 60

Every finished search is kept in --out, and a stopped run resumes. Each search ends at its first hit. The settings are the defaults,
except for the teacher. The data set on which the teachers were trained contains all of these crystals; with --compressed, the targets are
crystals that are stable at a pressure at which the data set has no cells.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.run import UnitDone, benchmark
from nucleate.benchmark.statistics import search_summary
from nucleate.persist.toml import read_settings
from nucleate.progress import Event
from nucleate.report.benchmark_text import benchmark_cells

KEPT = (
    "seed", "first", "first_low", "calls", "seconds", "best", "ended", "core_seconds",
    "teacher_evaluations", "teacher_core_seconds", "teacher_seconds",
)  # fmt: skip
"""Entries of a search in the result file."""
SYSTEMS = ["Si8", "Na8Cl8", "Al4O6", "Ga8As8", "Si16"]

COMPRESSED: dict[str, tuple[float, Atoms]] = {
    "Na4Cl4": (60.0, bulk("NaCl", "cesiumchloride", 2.9)),
    "Al4N4": (50.0, bulk("AlN", "rocksalt", 3.9)),
}
"""Pressure (GPa) and stable crystal: NaCl in the caesium chloride structure, and AlN in that of rocksalt (wurtzite without pressure)."""


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page; seconds are means over the seeds."""
    lines = [
        "| reference | teacher | system | seeds | named crystal: hits | ERT | 95 % | lowest energy: ERT | core-s of the reference | "
        "teacher: evaluations | core-s | wall time of its search, s | calls of the seeds |",
        "|" + "---|" * 13,
    ]
    for key in dict.fromkeys((row["reference"], row["teacher"], row["system"]) for row in data["rows"]):
        runs = [row for row in data["rows"] if (row["reference"], row["teacher"], row["system"]) == key]
        runs.sort(key=lambda row: row["seed"])
        summary = search_summary(runs)
        means = [sum(row[name] for row in runs) / len(runs) for name in ("core_seconds", *KEPT[-3:])]
        calls = ", ".join(str(row["first"] or f"none in {row['calls']}") for row in runs)
        cells = (f"{summary['hits']} of {len(runs)}", *benchmark_cells(summary)[:2], benchmark_cells(summary["low"])[0])
        seeds = f"{runs[0]['seed']}-{runs[-1]['seed']}"
        lines.append(f"| {' | '.join((*key, seeds, *cells))} | {' | '.join(f'{mean:.0f}' for mean in means)} | {calls} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", help=f"default: {' '.join(SYSTEMS)}, or {' '.join(COMPRESSED)} with --compressed")
    parser.add_argument("--compressed", action="store_true", help="crystals that are stable at high pressure")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--teacher", help="pretrained potential; none: the same searches without a teacher")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--settings", type=Path, help="TOML file of further settings")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/teachers"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = {} if a.settings is None else read_settings(a.settings)
    if a.teacher is not None:
        settings.setdefault("teacher", {})["name"] = a.teacher
    result = ResultFile(a.result, {"settings": {} if a.settings is None else read_settings(a.settings)}, ("chgnet", "sevenn", "gpaw"))
    teacher = a.teacher or "none"

    def progress(event: Event) -> None:
        if isinstance(event, UnitDone):
            print(event.name, event.result["first"], flush=True)

    for system in a.systems or (COMPRESSED if a.compressed else SYSTEMS):
        seeds = list(range(a.first_seed, a.first_seed + a.seeds))
        out = a.out / teacher.replace(":", "-").replace("/", "-")
        name, file = system, None
        with tempfile.TemporaryDirectory() as folder:
            if a.compressed:
                settings["pressure"], crystal = COMPRESSED[system]
                name, out, file = f"{system} at {settings['pressure']:g} GPa", out / "compressed", Path(folder) / f"{system}.cif"
                crystal.write(file)
            report = benchmark(
                system, a.reference, seeds, a.budget, settings, workers=a.workers, out=out, progress=progress, target_file=file,
            )  # fmt: skip
        for run in report["nucleate"]["runs"]:
            if result.find(reference=a.reference, teacher=teacher, system=name, seed=run["seed"]) is None:
                result.add(reference=a.reference, teacher=teacher, system=name, **{key: run[key] for key in KEPT})
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
