"""Calls until every phase on the convex hull of a chemical system is confirmed, on a surrogate.

    OMP_NUM_THREADS=1 python benchmarks/search/hulls/run.py --systems Mg-Si Na-Cl --seeds 5

The surrogate's own hull consists of the lowest structures among the AFLOW prototypes with up to 16 atoms in the primitive cell (from
pymatgen) with all assignments of the elements, the known phases below, and the polymorphs of all searches. A phase counts as confirmed when
the search has confirmed a structure of its composition within 5 meV/atom. Phases that do not fit into the largest cell of the searches are
left out of the hull and named. Collapsed structures, with atoms closer than 0.5 Å, are no phases. Relaxed prototypes and searches
are kept in --out, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from nucleate import api
from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import expected_calls
from nucleate.benchmark.trials import dispatching
from nucleate.crystals.compositions import parse_system
from nucleate.csp.atoms_data import atoms_from_dict, atoms_to_dict
from nucleate.csp.run_data import read_run
from nucleate.csp.systems.hull import Hull
from nucleate.errors import ReferenceFailed
from nucleate.fingerprints.matching import space_group
from nucleate.generate.aflow import read_prototypes
from nucleate.generate.packing import make_packing
from nucleate.generate.seeds import primitive_cell
from nucleate.processes.pools import worker_pool
from nucleate.reference import make_reference
from nucleate.reference.base import CLOSEST
from nucleate.reference.settings import ReferenceSettings
from nucleate.relax.batched import relax
from nucleate.relax.reference_surface import ReferencePotential
from nucleate.relax.settings import RelaxSettings

SYSTEMS = ["Mg-Si", "Li-O", "Na-Cl", "Li-Al"]
MOST_ATOMS = 16
SAME = 0.005
"""Energy above a phase of the hull up to which a polymorph of its composition counts as this phase, eV/atom."""


def crystal(symbols: str, cell: list[float], group: int, sites: list[tuple[float, float, float]]) -> Atoms:
    """Return a crystal from its space group and the fractional coordinates of its inequivalent atoms."""
    from ase.spacegroup import crystal as build

    built = build(symbols.split(), sites, spacegroup=group, cellpar=cell, primitive_cell=True)
    return Atoms(numbers=built.numbers, cell=built.cell.array, scaled_positions=built.get_scaled_positions(), pbc=True)


KNOWN: dict[str, list[tuple[str, Atoms]]] = {
    # Wyckoff sites idealised; every structure is relaxed.
    "Li-O": [
        ("Li2O2", crystal("Li Li O", [3.14, 3.14, 7.65, 90, 90, 120], 194, [(0, 0, 0), (1 / 3, 2 / 3, 0.75), (1 / 3, 2 / 3, 0.149)])),
        ("LiO2", crystal("Li O", [3.99, 4.88, 2.96, 90, 90, 90], 58, [(0, 0, 0), (0.12, 0.09, 0.5)])),
        ("O2", crystal("O", [5.40, 3.43, 5.09, 90, 132.5, 90], 12, [(-0.0575, 0.0, 0.1646)])),
    ],
    "Li-Al": [
        ("Al2Li3", crystal("Li Li Al", [4.51, 4.51, 14.26, 90, 90, 120], 166, [(0, 0, 0), (0, 0, 0.403), (0, 0, 0.197)])),
    ],
}  # fmt: skip


def prototypes(system: str) -> Iterator[tuple[str, Atoms]]:
    """Yield the prototypes of a system with all assignments of its elements, scaled to the estimated volume."""
    symbols = parse_system(system).symbols
    for prototype in read_prototypes():
        elements = list(prototype.counts)
        if len(prototype.numbers) > MOST_ATOMS or len(elements) > 2:
            continue
        orders = [symbols, symbols[::-1]] if len(elements) == 2 else [(symbols[0],), (symbols[1],)]
        for order in orders:
            atoms = prototype.atoms
            names = dict(zip(elements, order, strict=True))
            plain = Atoms([names[s] for s in atoms.get_chemical_symbols()], cell=atoms.cell.array, positions=atoms.positions, pbc=True)
            counts = {s: n for s in order if (n := plain.get_chemical_symbols().count(s))}
            volume = make_packing(counts).volume_per_atom * len(plain)
            plain.set_cell(plain.cell.array * (volume / plain.get_volume()) ** (1 / 3), scale_atoms=True)
            yield f"{prototype.label} {plain.get_chemical_formula()}", plain
    yield from KNOWN.get(system, [])


def relaxed(name: str, atoms: Atoms, reference: str) -> dict[str, Any]:
    """Relax a structure on the reference; return its name, energy (eV/atom; None if it did not converge) and geometry."""
    settings = RelaxSettings(fmax=0.02, smax=0.1, max_steps=150)
    with dispatching(make_reference(ReferenceSettings(engine=reference))) as dispatcher:
        try:
            (end,) = relax([atoms], ReferencePotential(dispatcher, "known", 0), settings)
        except ReferenceFailed as failure:
            return {"name": name, "energy": None, "atoms": None, "stop": str(failure)}
    energy = end.energy_per_atom if end.stop == "converged" else None
    return {"name": name, "energy": energy, "atoms": atoms_to_dict(end.atoms), "stop": end.stop}


def known_phases(system: str, reference: str, out: Path, workers: int) -> list[dict[str, Any]]:
    """Relax all prototypes and known phases of a system, or read those that are relaxed already."""
    path = out / f"{system}-phases.jsonl"
    done = {item["name"]: item for item in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
    left = {name: atoms for name, atoms in prototypes(system) if name not in done}
    path.parent.mkdir(parents=True, exist_ok=True)
    with worker_pool(workers) as pool:
        for item in pool.map(relaxed, left, left.values(), [reference] * len(left)):
            done[item["name"]] = item
            with path.open("a") as file:
                file.write(json.dumps(item) + "\n")
    return list(done.values())


def search(system: str, reference: str, seed: int, budget: int, out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Run one search; return its polymorphs with the number of calls until their confirmation."""
    folder = out / f"{system}-{seed}"
    given = {
        "reference": {"engine": reference}, "seed": seed, "relax": {"workers": 1}, "generate": {"workers": 1, "prototype_share": 0.0},
        "search": {"budget": budget, "quiet_rounds": 1000, "max_rounds": 1000, "check": False, "proof": False}, **settings,
    }  # fmt: skip
    if folder.exists():
        api.resume(folder)
    else:
        api.search(system, settings=given, out=folder)
    run = read_run(folder)
    return [
        {"atoms": atoms_to_dict(p.atoms), "energy": p.energy, "calls": p.calls, "space_group": p.space_group} for p in run.state.minima()
    ]


def surrogate_hull(system: str, phases: list[dict[str, Any]], max_atoms: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the phases on the hull with formula, space group and energy, and the formulas of phases that are too large.

    Args:
        system: the chemical system.
        phases: structures with their energies, eV/atom.
        max_atoms: largest number of atoms in a primitive cell.
    """
    chemical = parse_system(system)
    # Potentials have holes at distances that a search refuses to calculate; a collapsed prototype is no phase.
    phases = [phase for phase in phases if not len(neighbor_list("d", atoms_from_dict(phase["atoms"]), CLOSEST))]
    structures = [atoms_from_dict(phase["atoms"]) for phase in phases]
    sizes = [len(primitive_cell(atoms)) for atoms in structures]
    energies = np.array([phase["energy"] for phase in phases])
    fractions = chemical.fractions(chemical.counts(structures))
    everything = Hull(fractions, energies)
    large = sorted({structures[n].get_chemical_formula(empirical=True) for n in everything.vertices if sizes[n] > max_atoms})
    small = [n for n in range(len(phases)) if sizes[n] <= max_atoms]
    hull = Hull(fractions[small], energies[small])
    found = []
    for n in (small[k] for k in hull.vertices):
        formula = structures[n].get_chemical_formula(empirical=True)
        found.append({"formula": formula, "space_group": space_group(structures[n])[0], "energy": float(energies[n])})
    return found, large


def calls_to(phase: dict[str, Any], polymorphs: list[dict[str, Any]]) -> int | None:
    """Return the calls until a polymorph of this composition within `SAME` was confirmed; None if there is none."""
    calls = [
        p["calls"]
        for p in polymorphs
        if atoms_from_dict(p["atoms"]).get_chemical_formula(empirical=True) == phase["formula"] and p["energy"] < phase["energy"] + SAME
    ]
    return min(calls, default=None)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| system | hull of the surrogate | seeds | complete | calls until complete | expected calls | by phase |", "|" + "---|" * 7]
    for phases in (row for row in data["rows"] if row["kind"] == "hull"):
        runs = [row for row in data["rows"] if row["kind"] == "search" and row["system"] == phases["system"]]
        names = ", ".join(f"{p['formula']} ({p['space_group']})" for p in phases["phases"])
        names += f"; too large: {', '.join(phases['large'])}" if phases["large"] else ""
        ends = [max(row["calls"].values()) if None not in row["calls"].values() else None for row in runs]
        expected = expected_calls([(data["settings"]["budget"] if end is None else end, end is not None) for end in ends])
        each = "; ".join(f"{p['formula']} {', '.join(_shown(row['calls'][p['formula']]) for row in runs)}" for p in phases["phases"])
        lines.append(
            f"| {phases['system']} | {names} | {len(runs)} | {sum(end is not None for end in ends)} of {len(ends)} | "
            f"{', '.join(map(_shown, ends))} | {'none' if expected is None else f'{expected:.0f}'} | {each} |"
        )
    return "\n".join(lines)


def _shown(calls: int | None) -> str:
    return "none" if calls is None else str(calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--budget", type=int, default=400)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--phases-only", action="store_true", help="Relax the prototypes and run no search.")
    parser.add_argument("--out", type=Path, default=Path("runs/hulls"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(
        a.result, {"reference": a.reference, "budget": a.budget, "max_atoms": a.max_atoms}, ("chgnet", "sevenn", "pymatgen")
    )
    seeds = range(a.first_seed, a.first_seed + a.seeds)
    for system in a.systems:
        phases = [phase for phase in known_phases(system, a.reference, a.out, a.workers) if phase["energy"] is not None]
        print(system, *surrogate_hull(system, phases, a.max_atoms), flush=True)
        if a.phases_only:
            continue
        arguments = [(system, a.reference, seed, a.budget, a.out, {"hull": {"max_atoms": a.max_atoms}}) for seed in seeds]
        with worker_pool(a.workers) as pool:
            runs = list(pool.map(search, *zip(*arguments, strict=True)))
        every = phases + [polymorph for run in runs for polymorph in run]
        hull, large = surrogate_hull(system, every, a.max_atoms)
        if result.find(kind="hull", system=system) is not None:
            print(f"{system}: already in {a.result}; delete its rows to replace them")
            continue
        result.add(kind="hull", system=system, phases=hull, large=large, prototypes=len(phases))
        for seed, run in zip(seeds, runs, strict=True):
            result.add(kind="search", system=system, seed=seed, calls={phase["formula"]: calls_to(phase, run) for phase in hull})
    print(table({"rows": result.rows, "settings": result.settings}))


if __name__ == "__main__":
    main()
