"""Reference calls to the known ground state, for all systems of the claim, beside random search.

    python benchmarks/search/calls_to_hit/run.py --out runs/benchmark                 # searches alone
    python benchmarks/search/calls_to_hit/run.py --out runs/benchmark --cells 200     # and the two random-search baselines

Every finished search and cell is kept in --out: a stopped run goes on, more seeds or cells are added.
Settings: search.toml beside this file.
Default settings were chosen on Si8, Na8Cl8 and Al4O6 with seeds 0-4; seeds 100-109 are reported.
"""

import argparse
import json
from pathlib import Path

from nucleate.benchmark.run import UnitDone, benchmark
from nucleate.persist.toml import read_settings
from nucleate.progress import Event
from nucleate.report.terminal import span_text

SYSTEMS = ["Si8", "Na8Cl8", "Ga8As8", "Si16", "Al4O6"]


def row(name: str, said: dict) -> str:
    """One line of the table."""
    ert = said.get("ert_at_least", said["ert"])
    text = "none" if ert is None else f"{'>= ' if said['ert'] is None else ''}{ert:.0f}"
    of = said.get("seeds") or said.get("confirmed") or said["cells"]
    success = said.get("success", {}).get("300")
    share = "" if success is None else f"{success['share']:.2f} ({success['interval'][0]:.2f}-{success['interval'][1]:.2f})"
    ratio = f"{said['ratio']:.1f}" if said.get("ratio") else ""
    return f"| {name} | {said['hits']} of {of} | {text} | {span_text(said.get('interval'))} | {share} | {ratio} |"


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
    a = parser.parse_args()
    reports = []

    def progress(event: Event) -> None:
        if isinstance(event, UnitDone):
            print(event.name, event.result.get("first", event.result.get("calls")), flush=True)

    for system in a.systems:
        seeds = list(range(a.first_seed, a.first_seed + a.seeds))
        report = benchmark(
            system, a.reference, seeds, a.budget, read_settings(a.settings), a.cells, a.ablation, a.pretrained, a.workers, a.out,
            progress,
        )  # fmt: skip
        reports.append(report)
        if a.json is not None:
            a.json.write_text(json.dumps(reports, indent=1))
    print("| search | hits | calls to a hit (ERT) | 95 % | S(300) | times nucleate's |\n|---|---|---|---|---|---|")
    for report in reports:
        for name, said in report.items():
            if isinstance(said, dict) and "ert" in said:
                print(row(f"{report['system']} {name.replace('_', ' ')}", said))


if __name__ == "__main__":
    main()
