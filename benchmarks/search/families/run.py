"""Calls to the first hit with each family as the learned surface of the search, and on top of a prior.

    OMP_NUM_THREADS=1 python benchmarks/search/families/run.py --system Al4O6 --models manybody a2a soap-krr

CHGNet, a surrogate, stands in for the reference. Settings: families.toml beside this file. Every finished search is kept in --out: a
stopped run goes on, more seeds are added.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nucleate.benchmark.run import benchmark
from nucleate.persist.toml import read_settings
from nucleate.report.benchmark_text import span_text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="Al4O6")
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--models", nargs="+", help="tables of the settings file; all if left out")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=300)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    a = parser.parse_args()
    every = read_settings(a.settings)
    print(
        "| learned surface | hits | calls to a hit (ERT) | 95 % | calls of the seeds | s a search |\n|---|---|---|---|---|---|", flush=True
    )
    for name in a.models or list(every):
        seeds = list(range(a.first_seed, a.first_seed + a.seeds))
        said = benchmark(a.system, a.reference, seeds, a.budget, every[name], workers=a.workers, out=a.out / name)["nucleate"]
        calls = ", ".join(str(run["first"] or f"({run['calls']})") for run in said["runs"])
        ert = "none" if said["ert"] is None else f"{said['ert']:.0f}"
        seconds = said["seconds"] / said["seeds"]
        print(
            f"| {name} | {said['hits']} of {said['seeds']} | {ert} | {span_text(said.get('interval'))} | {calls} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
