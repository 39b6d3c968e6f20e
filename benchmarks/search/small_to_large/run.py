"""Large cells from the labels of small ones: where the target ranks before the first large cell is calculated, and calls until it is found.

    OMP_NUM_THREADS=1 python benchmarks/search/small_to_large/run.py --systems Al16O24

A search of the small cell runs to its end. Its committee then relaxes random candidates of the large cell: the zero-shot rank of the
target is one plus the number of distinct end points that the committee places below it. A search of the large cell begins with the labels
of the small one alone, given as a ledger, so that none of its minima are handed on; the other settings are the defaults. It ends at the
target or at the budget; the first confirmed energy at most 5 meV/atom above it is noted as well, which for the clathrates of silicon may
be that of another, lower crystal. For comparison, --arms without searches the large cell without labels.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.targets import Target, prototype
from nucleate.benchmark.trials import dispatching, search_trial, trial_settings
from nucleate.crystals.formula import parse_formula
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.plan import prepare
from nucleate.csp.run_folder import RunFolder
from nucleate.csp.stages import run_search
from nucleate.errors import BadInput
from nucleate.fingerprints.matching import same_crystal, space_group
from nucleate.fingerprints.selection import distinct
from nucleate.generate import make_generator
from nucleate.generate.seeds import in_cell_of
from nucleate.persist.toml import to_toml
from nucleate.potentials.files import load_potential
from nucleate.reference import make_reference
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

SYSTEMS = {"Al16O24": "Al4O6", "Si34": "Si16", "Si46": "Si16"}
"""Small cell of each large one."""
LOWER = 0.001
"""Energy on the committee by which an end point must lie below the target to be counted, eV/atom."""


def clathrate(symbols: int) -> Atoms:
    """Return silicon clathrate I (46 atoms) or the primitive cell of clathrate II (34 atoms), from idealised coordinates."""
    if symbols == 46:
        built = crystal(["Si"] * 3, [(0.25, 0, 0.5), (0.1837,) * 3, (0, 0.3077, 0.1172)], spacegroup=223, cellpar=[10.23] * 3 + [90] * 3)
    else:
        sites = [(0.125,) * 3, (0.217,) * 3, (0.182, 0.182, 0.371)]
        built = crystal(["Si"] * 3, sites, spacegroup=227, setting=2, cellpar=[14.69] * 3 + [90] * 3, primitive_cell=True)
    return Atoms(numbers=built.numbers, cell=built.cell.array, scaled_positions=built.get_scaled_positions(), pbc=True)


def make_target(system: str, reference: str, result: ResultFile) -> Target:
    """Return the target of a system, relaxed on the reference, which is a row of the result file once it is known."""
    row = result.find(kind="target", system=system)
    if row is not None:
        return Target(atoms_from_dict(row["atoms"]), row["energy"], row["number"], row["symbol"], row["energy"])
    counts = parse_formula(system)
    start = clathrate(counts["Si"]) if "Si" in counts else in_cell_of(prototype(system), counts, "corundum")
    with dispatching(make_reference(ReferenceSettings(engine=reference))) as dispatcher:
        settings = RelaxSettings(fmax=0.02, smax=0.1, max_steps=300, patience=100)
        (end,) = relax([start], ReferencePotential(dispatcher, "target", 0), settings)
    if end.stop != "converged":
        raise BadInput(f"{system}: the relaxation of the target did not converge ({end.stop})")
    symbol, number = space_group(end.atoms)
    energy = end.energy_per_atom
    result.add(kind="target", system=system, energy=energy, symbol=symbol, number=number, atoms=atoms_to_dict(end.atoms))
    print(system, len(end.atoms), symbol, round(energy, 5), end.stop, flush=True)
    return Target(end.atoms, energy, number, symbol, energy)


def small_search(system: str, reference: str, seed: int, folder: Path) -> tuple[int, float]:
    """Search the small cell to the end of the search; return its calls and processor time, s."""
    cpu = time.process_time()
    settings = trial_settings(SYSTEMS[system], reference, seed, 200, {})
    with RunFolder.create(folder, to_toml(settings)) as run:
        run.set_fact("reference", {"name": reference, "surrogate": True, "settings": make_reference(settings.reference).settings()})
        run_search(run, prepare(settings))
        return run.ledger.count(), time.process_time() - cpu


def zero_shot(system: str, reference: str, seed: int, folder: Path, target: Target) -> tuple[int, int, float]:
    """Return the rank of the target on the committee of the small cell, the number of distinct end points, and the error of its energy.

    The rank is 0 if the target is no minimum of the committee: it relaxes to another crystal.
    """
    settings = trial_settings(system, reference, seed, 30, {})
    model, _ = load_potential(max((folder / "models").glob("round_*.safetensors")))
    pool = make_generator(settings.counts, settings.generate).propose(settings.search.pool, np.random.default_rng([seed, 1]))
    ends = relax(
        [target.atoms, *(candidate.atoms for candidate in pool)],
        model,
        settings.relax.model_copy(update={"sigma_stop": settings.search.sigma_stop}),
    )
    mine = ends[0].energy_per_atom
    lost = not ends[0].usable or not same_crystal(ends[0].atoms, target.atoms)
    others = [end for end in ends[1:] if np.isfinite(end.energy) and end.usable]
    kept = [others[k] for k in distinct([end.atoms for end in others], settings.species)]
    rank = 0 if lost else 1 + sum(end.energy_per_atom < mine - LOWER for end in kept)
    return rank, len(kept), mine - target.energy


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| large cell | labels from | target | seed | calls in the small cell | zero-shot rank, of | error of the target, meV/atom | "
        "calls in the large cell until the target / its energy | processor s |",
        "|" + "---|" * 9,
    ]
    symbols = {row["system"]: row["symbol"] for row in data["rows"] if row["kind"] == "target"}
    for row in sorted((row for row in data["rows"] if row["kind"] == "search"), key=lambda row: (row["system"], row["arm"], row["seed"])):
        found = " / ".join("none" if row[name] is None else str(row[name]) for name in ("first", "low"))
        if row["first"] is None and row["low"] is None:
            found = f"> {row['calls']}"
        rank = (
            ("", "", "")
            if row["arm"] == "without"
            else (row["small_calls"], f"{row['rank'] or 'lost'}, {row['of']}", f"{1000 * row['error']:.1f}")
        )
        source = "none" if row["arm"] == "without" else SYSTEMS[row["system"]]
        cells = [row["system"], source, symbols[row["system"]], row["seed"], *rank, found, f"{row['cpu']:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--arms", nargs="+", choices=["labels", "without"], default=["labels"])
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=400)
    parser.add_argument("--budget", type=int, default=30)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "budget": a.budget}, ("chgnet",))
    for system in a.systems:
        target = make_target(system, a.reference, result)
        for seed in range(a.first_seed, a.first_seed + a.seeds):
            for arm in a.arms:
                if result.find(kind="search", system=system, seed=seed, arm=arm) is None:
                    result.add(kind="search", system=system, arm=arm, seed=seed, **one(system, arm, seed, target, a))
                    print(system, arm, seed, {k: v for k, v in result.rows[-1].items() if k not in ("run", "kind")}, flush=True)
    print(table({"rows": result.rows}))


def one(system: str, arm: str, seed: int, target: Target, a: argparse.Namespace) -> dict[str, Any]:
    """Return the entries of one row."""
    known: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp())
    try:
        if arm == "labels":
            small = folder / "small"
            calls, cpu = small_search(system, a.reference, seed, small)
            rank, of, error = zero_shot(system, a.reference, seed, small, target)
            known = {"small_calls": calls, "small_cpu": round(cpu, 1), "rank": rank, "of": of, "error": error}
            shutil.copy(small / "run.db", folder / "labels.db")
            overrides = {"teacher": {"labels_from": [str(folder / "labels.db")]}}
        trial = search_trial(trial_settings(system, a.reference, seed, a.budget, overrides), target)
    finally:
        shutil.rmtree(folder)
    return {
        **known, "first": trial.first, "low": trial.first_low, "calls": trial.calls, "ended": trial.ended, "best": trial.best,
        "cpu": round(trial.cpu_seconds, 1), "origin": trial.origin, "lower": [round(x, 4) for x in trial.lower],
    }  # fmt: skip


if __name__ == "__main__":
    main()
