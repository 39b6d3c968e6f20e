"""Calls of a campaign of twenty formulas, beside those of the same searches apart, on CHGNet (a surrogate).

    OMP_NUM_THREADS=1 python benchmarks/search/campaign/run.py --seeds 3

The formulas were fixed before the first run; five of them share no element with another one. Both arms have the same seeds, settings and
stopping criterion (the lowest polymorph unchanged for four rounds, `top = 1`). A search ends by itself or after --budget calls. Its ground
state is the lowest polymorph of that formula in any run of either arm, and is confirmed if the search has a polymorph within 5 meV/atom.
Run folders are kept in --out, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.campaign.members import members_of
from nucleate.campaign.run import campaign
from nucleate.csp.run_data import RunData, read_run

FORMULAS = [
    "Mg2", "Al4", "Si4", "Mg2O2", "Al4O6", "Si2O4", "Mg4Si2", "Mg2Si2O6", "Mg2Al4O8", "Ti2O4", "Ti2N2", "Na2Cl2", "Na4O2", "Li4O2", "Al2N2",
    # No element in common with any other.
    "Ga2As2", "Zn2S2", "K2F2", "Cs2I2", "C4",
]  # fmt: skip
ARMS = ("apart", "campaign")
SAME = 0.005
"""Largest height of a polymorph above the lowest known one that counts as the ground state, eV/atom."""


def confirmed(run: RunData, lowest: float) -> int | None:
    """Return the calls until a polymorph within `SAME` of an energy (eV/atom) was confirmed; None if none was."""
    return min((polymorph.calls for polymorph in run.state.minima() if polymorph.energy < lowest + SAME), default=None)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    rows = {(row["arm"], row["seed"], row["formula"]): row for row in data["rows"]}
    formulas = list(dict.fromkeys(row["formula"] for row in data["rows"]))
    seeds = sorted({row["seed"] for row in data["rows"]})
    lines = [
        "| formula | seeds | calls apart | calls in the campaign | ground state apart | ground state in the campaign |",
        "|" + "---|" * 6,
    ]
    for formula in formulas:
        cells = []
        for key in ("calls", "hit"):
            for arm in ARMS:
                values = [rows[arm, seed, formula][key] for seed in seeds if (arm, seed, formula) in rows]
                cells.append(", ".join("none" if value is None else str(value) for value in values))
        lines.append(f"| {formula} | {len(seeds)} | {' | '.join(cells)} |")
    lines.append("")
    for seed in seeds:
        both = [formula for formula in formulas if all((arm, seed, formula) in rows for arm in ARMS)]
        apart, shared = (np.array([rows[arm, seed, formula]["calls"] for formula in both]) for arm in ARMS)
        hits = [sum(rows[arm, seed, formula]["hit"] is not None for formula in both) for arm in ARMS]
        lines.append(
            f"- Seed {seed}: {len(both)} formulas, {apart.sum()} calls apart and {shared.sum()} in the campaign "
            f"({100 * (shared.sum() / apart.sum() - 1):+.0f} %); medians {np.median(apart):.0f} and {np.median(shared):.0f}; ground states "
            f"{hits[0]} and {hits[1]} of {len(both)}."
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=300)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--formulas", nargs="+", default=FORMULAS, help="Part of the formulas, to see the script run.")
    parser.add_argument("--out", type=Path, default=Path("runs/campaign"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = {
        "reference": {"engine": "chgnet"},
        "search": {"top": 1},
        "relax": {"workers": 1},
        "generate": {"workers": 1, "prototype_share": 0.0},
    }
    result = ResultFile(a.result, {"reference": "chgnet", "budget": a.budget, "top": 1}, ("chgnet",))
    members = members_of(a.formulas, settings, search__budget=a.budget)
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        if result.find(seed=seed) is not None:
            continue
        for arm in ARMS:
            out = a.out / f"{arm}-{seed}"
            campaign(
                a.formulas, out=out, settings=settings, seed=seed, budget=a.budget, share_labels=arm == "campaign",
                progress=lambda event: print(event, flush=True) if isinstance(getattr(event, "event", None), str) else None,
            )  # fmt: skip
        runs = {(arm, member.name): read_run(a.out / f"{arm}-{seed}" / member.name) for arm in ARMS for member in members}
        for member in members:
            minima = [polymorph.energy for arm in ARMS for polymorph in runs[arm, member.name].state.minima()]
            for arm in ARMS:
                run = runs[arm, member.name]
                hit = confirmed(run, min(minima)) if minima else None
                result.add(
                    arm=arm, seed=seed, formula=member.name, calls=run.calls, hit=hit, lowest=min(minima, default=None),
                    learned=len(run.settings.teacher.labels_from),
                )  # fmt: skip
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
