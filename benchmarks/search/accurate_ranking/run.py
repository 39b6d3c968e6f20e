"""Softest-mode check and accurate ranking on real DFT: diamond and 2H silicon with a preset that puts them in the wrong order.

    OMP_NUM_THREADS=1 python benchmarks/search/accurate_ranking/run.py [--out runs/accurate]

Diamond and 2H silicon (lonsdaleite) are given as seeds of a search of Si4 on GPAW with the preset `fast`. The search confirms and checks
them, and calculates their energies with the preset `accurate`. Settings: settings.toml beside this file. The search resumes from --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.build import bulk
from ase.io import write

import nucleate
from nucleate.benchmark.result_file import ResultFile
from nucleate.persist.toml import read_settings

SETTINGS = Path(__file__).with_name("settings.toml")


def lonsdaleite(a: float = 3.86, c: float = 6.29) -> Atoms:
    """Return 2H silicon with the ideal internal parameter 1/16."""
    places = [(1 / 3, 2 / 3, 1 / 16), (2 / 3, 1 / 3, 9 / 16), (1 / 3, 2 / 3, 7 / 16), (2 / 3, 1 / 3, 15 / 16)]
    return Atoms("Si4", cell=[a, a, c, 90, 90, 120], scaled_positions=places, pbc=True)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    best = {key: min(row[key] for row in data["rows"] if row[key] is not None) for key in ("energy", "accurate_energy")}
    lines = ["| polymorph | check | fast, meV/atom | accurate, meV/atom |", "|---|---|---|---|"]
    for row in sorted(data["rows"], key=lambda row: row["rank"]):
        cells = ["" if row[key] is None else f"{1e3 * (row[key] - low):.1f}" for key, low in best.items()]
        lines.append(f"| {row['space_group']} | {row['check']} | {' | '.join(cells)} |")
    calls = data["rows"][0]["calls"]
    return "\n".join(lines) + f"\n\nCalls by purpose: {', '.join(f'{name} {count}' for name, count in calls.items())}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/accurate"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"settings": read_settings(SETTINGS)}, ("gpaw",))
    if not result.rows:
        a.out.parent.mkdir(parents=True, exist_ok=True)
        seeds = a.out.with_suffix(".extxyz")
        write(seeds, [bulk("Si", "diamond", a=5.47) * (2, 1, 1), lonsdaleite()])
        if (a.out / "run.toml").exists():
            nucleate.resume(a.out, progress=print)
        else:
            nucleate.search("Si4", settings=SETTINGS, prototypes=False, seeds_from=seeds, out=a.out, progress=print)
        data = nucleate.show(a.out)
        for p in data["polymorphs"]:
            row = {name: p[name] for name in ("rank", "space_group", "check", "energy", "accurate_energy")}
            result.add(**row, calls=data["calls_by_purpose"])
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
