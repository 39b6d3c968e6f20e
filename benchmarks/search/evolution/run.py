"""What the operators of an evolution save: the same searches with random candidates and with children, seed by seed.

    OMP_NUM_THREADS=1 python benchmarks/search/evolution/run.py --systems Al4O6 --arms random mixed

Arms: `random`, symmetric and P1 candidates alone; `mixed`, half of the new candidates are children, by all operators; one arm for each
operator alone, with half children; `mixed without niches`, with parents by rank alone; `evolution`, nine tenths children; `prototypes`,
random with a fifth from structure types of known crystals; and `mixed with prototypes`. All else is the default. A search ends at its first
hit, the named crystal. Targets: the lowest of the AFLOW prototypes of the formula (from pymatgen), relaxed on the reference; corundum from
`nucleate.benchmark.targets`. Every finished search is a row, and a stopped run resumes. Several processes may work on different arms with
different --result files.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls, interval
from nucleate.benchmark.targets import Target, lowest_prototype, relaxed_target
from nucleate.benchmark.trials import dispatching, search_trial, trial_settings
from nucleate.crystals.formula import parse_formula
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings

OPERATORS = ["heredity", "strain", "permutation", "permutation-strain", "soft-mode", "symmetrise"]
PROTOTYPES = {"generate": {"prototype_share": 0.2}}
ARMS: dict[str, dict[str, Any]] = {
    "random": {},
    "mixed": {"evolution": {"strategy": "mixed"}},
    "mixed with prototypes": {"evolution": {"strategy": "mixed"}, **PROTOTYPES},
    "prototypes": PROTOTYPES,
    "evolution": {"evolution": {"strategy": "evolution"}},
    "mixed without niches": {"evolution": {"strategy": "mixed", "niche": 0.0}},
    **{f"{name} alone": {"evolution": {"strategy": "mixed", "operators": [name]}} for name in OPERATORS},
}
ELEMENTAL = [arm for arm in ARMS if "permutation" not in arm]


def make_target(system: str, reference: str, result: ResultFile) -> Target:
    """Return the target of a system, which is a row of the result file once it is known."""
    row = result.find(kind="target", system=system)
    if row is None:
        with dispatching(make_reference(ReferenceSettings(engine=reference))) as dispatcher:
            target = relaxed_target(system, dispatcher) if system == "Al4O6" else lowest_prototype(system, dispatcher)
        result.add(
            kind="target",
            system=system,
            energy=target.energy,
            symbol=target.symbol,
            number=target.number,
            atoms=atoms_to_dict(target.atoms),
        )
        return target
    return Target(atoms_from_dict(row["atoms"]), row["energy"], row["number"], row["symbol"], row["energy"])


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| system | arm | seeds | hits | ERT, calls | calls relative to random, 95 % | processor s, median | origin of the hits |",
        "|" + "---|" * 8,
    ]
    searches = [row for row in data["rows"] if row["kind"] == "search"]
    for system in dict.fromkeys(row["system"] for row in searches):
        rows = {(row["arm"], row["seed"]): row for row in searches if row["system"] == system}
        for arm in [name for name in ARMS if any(name == each for each, _ in rows)]:
            runs = [row for (each, _), row in sorted(rows.items()) if each == arm]
            expected = expected_calls([(row["calls"], row["first"] is not None) for row in runs])
            pairs = [(row["calls"], rows["random", row["seed"]]["calls"]) for row in runs if ("random", row["seed"]) in rows]
            ratio = ""
            if arm != "random" and len(pairs) > 2:
                logarithms = np.log([mine / other for mine, other in pairs])
                low, high = interval(len(pairs), lambda drawn, x=logarithms: float(np.exp(x[drawn].mean())))  # type: ignore[misc]
                ratio = f"{np.exp(logarithms.mean()):.2f} ({low:.2f}-{high:.2f})"
            hits = [row for row in runs if row["first"] is not None]
            origins = [row["origin"] for row in hits]
            shares = ", ".join(
                f"{name} {origins.count(name)}" for name in sorted(set(origins), key=lambda name: (-origins.count(name), name))
            )
            seconds = f"{np.median([row['cpu'] for row in hits]):.0f}" if hits else ""
            ert = "none" if expected is None else f"{expected:.0f}"
            lines.append(f"| {system} | {arm} | {len(runs)} | {len(hits)} | {ert} | {ratio} | {seconds} | {shares} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Al4O6", "B12"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=200)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget}, ("chgnet", "pymatgen"))
    targets = {system: make_target(system, a.reference, result) for system in a.systems}
    # Seeds come first, so that a stopped run has all arms of the same seeds.
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        for system in a.systems:
            for arm in a.arms:
                if arm not in ELEMENTAL and len(parse_formula(system)) == 1:
                    continue
                if result.find(kind="search", system=system, seed=seed, arm=arm) is not None:
                    continue
                trial = search_trial(trial_settings(system, a.reference, seed, a.budget, ARMS[arm]), targets[system])
                result.add(
                    kind="search", system=system, arm=arm, seed=seed, first=trial.first, low=trial.first_low, calls=trial.calls,
                    ended=trial.ended, cpu=round(trial.cpu_seconds, 1), origin=trial.origin, lower=[round(x, 4) for x in trial.lower],
                )  # fmt: skip
                print(system, seed, arm, trial.calls, trial.ended, trial.origin, round(trial.cpu_seconds), flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
