"""Searches of cells with 20 to 42 atoms: calls until the lowest known crystal, and what a call costs as cells grow.

    OMP_NUM_THREADS=1 python benchmarks/search/large_cells/run.py --systems Al8O12 Ti8O16

Random candidates alone and the other settings of a search as they are by default; no prototypes. The target is the lowest of the AFLOW
prototypes of the formula with all assignments of the elements (from pymatgen) and of the minerals in minerals.py, relaxed on the
reference at the pressure of the search. A search ends at its first hit, the target (StructureMatcher, space group, 5 meV/atom), or at the
budget. Targets and finished searches are rows, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from minerals import MINERALS

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls
from nucleate.benchmark.targets import Target, lowest_prototype
from nucleate.benchmark.trials import dispatching, search_trial, trial_settings
from nucleate.crystals.formula import parse_formula
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import space_group
from nucleate.reference import Dispatcher, make_reference
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

SYSTEMS = {"Al8O12": 0.0, "Ca2Mg2Si4O12": 0.0, "Mg4Si4O12": 60.0, "Ti8O16": 0.0, "Al8Si4O20": 0.0, "Al16O24": 0.0, "Ca10P6O24F2": 0.0}
"""Pressure of each search, GPa."""
ARMS: dict[str, dict[str, Any]] = {"random": {}, "mixed": {"evolution": {"strategy": "mixed"}}}


def lowest_known(system: str, dispatcher: Dispatcher) -> tuple[Target, list[list[Any]]]:
    """Return the target of a system, and name, space group and energy (eV/atom) of its minerals."""
    pressure = SYSTEMS[system]
    try:
        targets = [lowest_prototype(system, dispatcher, pressure)]
    except BadInput:
        targets = []
    named = []
    for name, build in MINERALS.get(system, []):
        settings = RelaxSettings(fmax=0.02, smax=0.1, max_steps=500, patience=200, pressure=pressure)
        (end,) = relax([build()], ReferencePotential(dispatcher, "target", 0), settings)
        if end.stop != "converged":
            raise BadInput(f"{system}: the relaxation of {name} did not converge ({end.stop})")
        symbol, number = space_group(end.atoms)
        energy = end.energy_per_atom
        named.append([name, symbol, energy])
        targets.append(Target(end.atoms, energy, number, symbol, energy))
    return min(targets, key=lambda target: target.energy), named


def make_target(system: str, reference: str, result: ResultFile) -> Target:
    """Return the target of a system, which is a row of the result file once it is known."""
    row = result.find(kind="target", system=system)
    if row is not None:
        return Target(atoms_from_dict(row["atoms"]), row["energy"], row["number"], row["symbol"], row["energy"])
    with dispatching(make_reference(ReferenceSettings(engine=reference))) as dispatcher:
        target, named = lowest_known(system, dispatcher)
    result.add(
        kind="target", system=system, energy=target.energy, symbol=target.symbol, number=target.number, minerals=named,
        atoms=atoms_to_dict(target.atoms),
    )  # fmt: skip
    print(system, target.symbol, round(target.energy, 5), named, flush=True)
    return target


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| cell | atoms | GPa | target | strategy | seeds | hits | calls to the hit, or made | ERT, calls | processor s a call |",
        "|" + "---|" * 10,
    ]
    targets = {row["system"]: row for row in data["rows"] if row["kind"] == "target"}
    for system in [name for name in SYSTEMS if name in targets]:
        for arm in ARMS:
            rows = [row for row in data["rows"] if row["kind"] == "search" and row["system"] == system and row["arm"] == arm]
            if not rows:
                continue
            rows.sort(key=lambda row: int(row["seed"]))
            expected = expected_calls([(row["calls"], row["first"] is not None) for row in rows])
            calls = ", ".join(str(row["calls"]) if row["first"] is not None else f"> {row['calls']}" for row in rows)
            hits = sum(row["first"] is not None for row in rows)
            cost = np.mean([row["cpu"] / row["calls"] for row in rows])
            atoms = sum(parse_formula(system).values())
            ert = "none" if expected is None else f"{expected:.0f}"
            cells = [system, atoms, f"{SYSTEMS[system]:g}", targets[system]["symbol"], arm, len(rows), hits, calls, ert, f"{cost:.1f}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["random"])
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=300)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget}, ("chgnet", "pymatgen"))
    for system in a.systems:
        target = make_target(system, a.reference, result)
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            for arm in a.arms:
                if result.find(kind="search", system=system, seed=seed, arm=arm) is not None:
                    continue
                settings = trial_settings(system, a.reference, seed, a.budget, {**ARMS[arm], "pressure": SYSTEMS[system]})
                trial = search_trial(settings, target)
                result.add(
                    kind="search", system=system, arm=arm, seed=seed, first=trial.first, low=trial.first_low, calls=trial.calls,
                    ended=trial.ended, cpu=round(trial.cpu_seconds, 1), core=round(trial.core_seconds, 1), best=trial.best,
                    origin=trial.origin, lower=[round(x, 4) for x in trial.lower],
                )  # fmt: skip
                print(system, seed, arm, trial.calls, trial.ended, trial.origin, round(trial.cpu_seconds), flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
