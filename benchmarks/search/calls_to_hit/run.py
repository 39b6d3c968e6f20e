"""Reference calls to the known ground state, for all systems of the claim, beside random search.

    python benchmarks/search/calls_to_hit/run.py --out runs/benchmark                 # searches alone
    python benchmarks/search/calls_to_hit/run.py --out runs/benchmark --cells 200     # and the two random-search baselines

Every finished search and cell is kept in --out: a stopped run resumes, and more seeds or cells are added. The searches, and the sums of the
random searches, are kept in result.json. Settings: settings.toml beside this file.
Default settings were chosen on Si8 and Al4O6 with seeds 0-9; seeds 100-109 are reported.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.run import SHARES, UnitDone, benchmark
from nucleate.benchmark.statistics import search_summary
from nucleate.persist.toml import read_settings
from nucleate.progress import Event
from nucleate.report.benchmark_text import benchmark_cells

KEPT = ("seed", "first", "first_low", "calls", "seconds", "best", "ended")
"""Entries of a search in the result file."""
SYSTEMS = ["Si8", "Na8Cl8", "Ga8As8", "Si16", "Al4O6"]


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: searches and random searches, by both definitions of a hit, then the calls of each seed."""
    lines = [
        "| system | search | seeds or cells | named crystal: hits | calls to a hit (ERT) | 95 % | times nucleate's "
        "| lowest energy: hits | ERT | times nucleate's |",
        "|" + "---|" * 10,
    ]
    calls = []
    for system in dict.fromkeys(row["system"] for row in data["rows"]):
        mine = [row for row in data["rows"] if row["system"] == system]
        runs = sorted((row for row in mine if "seed" in row), key=lambda row: row["seed"])
        summary = search_summary(runs)
        found = [("nucleate", f"{runs[0]['seed']}-{runs[-1]['seed']}", summary)]
        found += [(row["search"], str(row["cells"]), row) for row in mine if "cells" in row]
        for name, trials, result in found:
            of = len(runs) if name == "nucleate" else result["cells"]
            cells = [name, trials]
            for definition, own, interval in ((result, summary, True), (result["low"], summary["low"], False)):
                ratio = "" if name == "nucleate" else times(definition, own)
                cells += [f"{definition['hits']} of {of}", *benchmark_cells(definition)[: 1 + interval], ratio]
            lines.append(f"| {system} | {' | '.join(cells)} |")
        each = [str(run["first"] or f"none in {run['calls']}") for run in runs]
        calls.append(f"{system}: {', '.join(each)}.")
    return "\n".join(lines) + "\n\nCalls of the seeds until the named crystal. " + " ".join(calls)


def times(other: dict[str, Any], own: dict[str, Any]) -> str:
    """Return the expected calls of a random search divided by those of nucleate; a lower bound without a hit, empty without ours."""
    if own["ert"] is None:
        return ""
    ratio = other["ert_at_least"] / own["ert"]
    return f"{'' if other['hits'] else '>= '}{ratio:.0f}"


def rows(report: dict[str, Any]) -> list[str]:
    """Return the lines of a system in the printed table: each method by both definitions."""
    lines = []
    for name, summary in report.items():
        if isinstance(summary, dict) and "ert" in summary:
            trials = summary.get("seeds") or summary.get("confirmed") or summary["cells"]
            for definition, result in (("named crystal", summary), ("lowest energy", summary["low"])):
                cells = " | ".join((f"{result['hits']} of {trials}", *benchmark_cells(result)))
                lines.append(f"| {report['system']} {name.replace('_', ' ')} | {definition} | {cells} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--cells", type=int, default=0, help="of each random-search baseline")
    parser.add_argument("--ablation", action="store_true", help="also search with P1 candidates alone")
    parser.add_argument("--pretrained", help="surrogate that relaxes the cells; the reference confirms the lowest")
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--json", type=Path, help="also write all reports here")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    reports = []
    settings = read_settings(a.settings)
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget, "settings": settings}, ("chgnet", "sevenn"))

    def progress(event: Event) -> None:
        if isinstance(event, UnitDone):
            print(event.name, event.result.get("first", event.result.get("calls")), flush=True)

    for system in a.systems:
        seeds = list(range(a.first_seed, a.first_seed + a.seeds))
        report = benchmark(
            system, a.reference, seeds, a.budget, settings, a.cells, a.ablation, a.pretrained, a.workers, a.out,
            progress,
        )  # fmt: skip
        reports.append(report)
        for run in report["nucleate"]["runs"]:
            if result.find(system=system, seed=run["seed"]) is None:
                result.add(system=system, **{name: run[name] for name in KEPT})
        for name in SHARES:
            if name in report:
                key = {"system": system, "search": name.replace("_", " ").replace("p1", "P1")}
                before = result.find(**key)
                if before is not None and before["cells"] < report[name]["cells"]:
                    result.rows.remove(before)
                if before not in result.rows:
                    low = {entry: value for entry, value in report[name]["low"].items() if entry != "ratio"}
                    summary = {entry: value for entry, value in report[name].items() if entry != "ratio"}
                    result.add(**key, **{**summary, "low": low})
        if a.json is not None:
            a.json.write_text(json.dumps(reports, indent=1))
    print("| search | hit | hits | calls to a hit (ERT) | 95 % | times nucleate's |\n|---|---|---|---|---|---|")
    for report in reports:
        print("\n".join(rows(report)))


if __name__ == "__main__":
    main()
