"""How many of the minima within a window a search for all of them finds, against the union of all searches.

    OMP_NUM_THREADS=1 python benchmarks/search/minima_recall/run.py --systems Al4O6 --seeds 5

Searches with the goal `minima` and a window of 50 meV/atom end by their own stop rule or at the budget. Arms: `random`, symmetric and P1
candidates as by default; `p1`, P1 candidates alone; `mixed`, half of the new candidates are children. The union holds every minimum
within the window of the lowest that any of these searches has confirmed and that was not recognised as a saddle along its softest modes;
two are one if their energies differ by less than 2 meV/atom and pymatgen's StructureMatcher takes them for the same. Recall is the share
of the union that one search has found. Members of the union and finished searches are rows, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.plan import prepare
from nucleate.csp.records import Polymorph
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.run_settings import settings_from_dict
from nucleate.csp.stages import run_search
from nucleate.fingerprints.matching import same_crystal
from nucleate.persist.toml import to_toml

ARMS: dict[str, dict[str, Any]] = {
    "random": {},
    "p1": {"generate": {"symmetric_share": 0.0}},
    "mixed": {"evolution": {"strategy": "mixed"}},
}
WINDOW = 50.0
"""Window, meV/atom."""
SAME = 0.002
"""Largest difference of the energies of one minimum in two searches, eV/atom."""


def member(polymorph: Polymorph, system: str, result: ResultFile) -> int:
    """Return the number of a polymorph in the union, which it enters if it is new."""
    rows = [row for row in result.rows if row["kind"] == "minimum" and row["system"] == system]
    for row in rows:
        if abs(row["energy"] - polymorph.energy) < SAME and same_crystal(atoms_from_dict(row["atoms"]), polymorph.atoms):
            return int(row["number"])
    atoms = polymorph.atoms.copy()
    atoms.positions, atoms.cell[:] = atoms.positions.round(5), atoms.cell.array.round(5)
    result.add(
        kind="minimum", system=system, number=len(rows), energy=round(float(polymorph.energy), 6), symbol=polymorph.space_group,
        atoms=atoms_to_dict(atoms),
    )  # fmt: skip
    return len(rows)


def search(system: str, arm: str, seed: int, a: argparse.Namespace, result: ResultFile) -> None:
    """Run one search and add its row."""
    warnings.simplefilter("ignore")
    settings = settings_from_dict(
        {
            "formula": system, "seed": seed, "reference": {"engine": a.reference},
            "search": {"budget": a.budget, "proof": False, "accurate": False, "max_rounds": 60}, "minima": {"window": WINDOW},
            "relax": {"workers": 1}, **ARMS[arm], "generate": {"workers": 1, "prototype_share": 0.0, **ARMS[arm].get("generate", {})},
        },
        "benchmark settings",
    )  # fmt: skip
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder, RunFolder.create(Path(folder) / "run", to_toml(settings)) as run:
        state = run_search(run, prepare(settings))
        calls = run.ledger.count()
    cpu = time.process_time() - cpu
    # Saddles are among them, so that the union leaves out what another search takes for a minimum.
    low = min((p.energy for p in state.minima()), default=float("inf")) + WINDOW * 1e-3
    found = [[member(p, system, result), p.calls, p.check] for p in sorted(state.polymorphs, key=lambda p: p.energy) if p.energy <= low]
    result.add(
        kind="search",
        system=system,
        arm=arm,
        seed=seed,
        calls=calls,
        ended=state.finished,
        chance=state.chance,
        cpu=round(cpu, 1),
        found=found,
    )
    print(system, arm, seed, calls, state.finished, len(found), round(cpu), flush=True)


def union(system: str, rows: list[dict[str, Any]]) -> set[int]:
    """Return the numbers of the minima in the union: within the window, checked in a search, and a saddle in none."""
    energies = {row["number"]: row["energy"] for row in rows if row["kind"] == "minimum" and row["system"] == system}
    checks: dict[int, set[str]] = {}
    for row in rows:
        if row["kind"] == "search" and row["system"] == system:
            for number, _, check in row["found"]:
                checks.setdefault(number, set()).add(check)
    sound = {number: energies[number] for number, found in checks.items() if "minimum" in found and "saddle" not in found}
    return {number for number, energy in sound.items() if energy <= min(sound.values()) + WINDOW * 1e-3}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| system | union | candidates | seeds | recall of each search | mean | calls | ended by the stop rule | processor s |",
        "|" + "---|" * 9,
    ]
    for system in dict.fromkeys(row["system"] for row in data["rows"]):
        every = union(system, data["rows"])
        for arm in ARMS:
            rows = [row for row in data["rows"] if row["kind"] == "search" and row["system"] == system and row["arm"] == arm]
            if not rows:
                continue
            rows.sort(key=lambda row: int(row["seed"]))
            recalls = [len(every & {number for number, *_ in row["found"]}) / max(len(every), 1) for row in rows]
            calls = ", ".join(str(row["calls"]) for row in rows)
            ended = sum("stayed the same" in row["ended"] for row in rows)
            seconds = np.median([row["cpu"] for row in rows])
            cells = [system, len(every), arm, len(rows), ", ".join(f"{x:.2f}" for x in recalls), f"{np.mean(recalls):.2f}", calls, ended]
            lines.append(f"| {' | '.join(map(str, cells))} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=["Al4O6", "Si16"])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=500)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget, "window": WINDOW}, ("chgnet", "pymatgen"))
    for system in a.systems:
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            for arm in a.arms:
                if result.find(kind="search", system=system, seed=seed, arm=arm) is None:
                    search(system, arm, seed, a, result)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
