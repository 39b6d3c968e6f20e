"""Convergence of GPAW's labels with cutoff and k-spacing: where the presets of `reference/gpaw.py` come from.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/reference/convergence/run.py [--systems Si NaCl] [--table-only]

Each phase is computed at one geometry near its PBE minimum, once along cutoffs at a fixed k-spacing and once along
k-spacings at a fixed cutoff. A random cell of each system shows what a label costs in a search. Every result is kept in
runs/convergence.jsonl, so that a stopped run goes on; the tables are printed from there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.spacegroup import crystal
from ase.units import GPa

from nucleate.errors import ReferenceFailed
from nucleate.reference.gpaw import GPAWReference
from nucleate.reference.settings import ReferenceSettings

STORE = Path("runs/convergence.jsonl")
SMEARING = 0.05
SOFT = {"cutoffs": (250, 300, 400, 500, 700), "cutoff": 400, "spacings": (0.45, 0.35, 0.3, 0.22, 0.16), "spacing": 0.45}
DENSE = {"cutoffs": (250, 300, 400, 500, 700), "cutoff": 300, "spacings": (0.45, 0.3, 0.22), "spacing": 0.45}
HARD = {"cutoffs": (450, 600, 700, 800, 1000), "cutoff": 450, "spacings": (0.6, 0.45, 0.3), "spacing": 0.6}
LEVELS = {"Si": SOFT, "NaCl": DENSE, "Al2O3": HARD, "GaAs": DENSE}
DEAREST = {("Al2O3", "theta"): 0.4, ("Al2O3", "random"): 0.4}
"""Phases whose k-spacings finer than this, 1/Å, are left out for their cost."""


def phases() -> dict[str, dict[str, Atoms]]:
    """Each system's phases near their PBE minima; the first is the ground state."""
    hexagonal = {"spacegroup": 194, "primitive_cell": True}
    return {
        "Si": {
            "diamond": bulk("Si", "diamond", 5.47),
            "lonsdaleite": crystal("Si", [(1 / 3, 2 / 3, 0.0625)], cellpar=[3.85, 3.85, 6.37, 90, 90, 120], **hexagonal),
            "beta-tin": crystal(
                "Si", [(0, 0, 0)], spacegroup=141, cellpar=[4.81, 4.81, 2.66, 90, 90, 90], primitive_cell=True
            ),
        },
        "NaCl": {"B1": bulk("NaCl", "rocksalt", 5.70), "B2": bulk("NaCl", "cesiumchloride", 3.49)},
        "GaAs": {
            "zincblende": bulk("GaAs", "zincblende", 5.75),
            "wurtzite": bulk("GaAs", "wurtzite", 4.048, 6.68, u=0.374),
            "rocksalt": bulk("GaAs", "rocksalt", 5.37),
        },
        "Al2O3": {
            "corundum": crystal(
                ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167,
                cellpar=[4.807, 4.807, 13.12, 90, 90, 120], primitive_cell=True,
            ),
            "theta": crystal(
                ["Al", "Al", "O", "O", "O"],
                [(0.9166, 0, 0.2073), (0.6595, 0, 0.3165), (0.1591, 0, 0.1093), (0.4944, 0, 0.2576), (0.8272, 0, 0.4273)],
                spacegroup=12, cellpar=[11.95, 2.928, 5.667, 90, 103.83, 90], primitive_cell=True,
            ),
        },
    }  # fmt: skip


def random_cell(symbols: str, volume: float, closest: float, seed: int = 0) -> Atoms:
    """A cell without symmetry, as a search asks for; volume in Å³, closest pair in Å."""
    rng = np.random.default_rng(seed)
    while True:
        cell = (np.eye(3) + 0.12 * rng.normal(size=(3, 3))) * volume ** (1 / 3)
        cell *= (volume / abs(np.linalg.det(cell))) ** (1 / 3)
        n = len(Atoms(symbols))
        for _ in range(2000):
            atoms = Atoms(symbols, cell=cell, pbc=True, scaled_positions=rng.random((n, 3)))
            if not len(neighbor_list("d", atoms, closest)):
                return atoms


def random_cells() -> dict[str, Atoms]:
    return {
        "Si": random_cell("Si8", 160, 2.0),
        "NaCl": random_cell("Na4Cl4", 185, 2.0),
        "GaAs": random_cell("Ga4As4", 180, 1.9),
        "Al2O3": random_cell("Al4O6", 95, 1.45),
    }


class Store:
    """Results by question, appended to a file as they arrive."""

    def __init__(self, path: Path):
        self.path = path
        self.known: dict[str, dict] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                row = json.loads(line)
                self.known[row["key"]] = row

    def ask(self, key: str, atoms: Atoms, cutoff: float, spacing: float) -> dict:
        """The answer to a question, from the file if it is there; cutoff in eV, spacing in 1/Å."""
        if key not in self.known:
            settings = ReferenceSettings(cutoff=cutoff, k_spacing=spacing, smearing=SMEARING)
            row: dict = {"key": key}
            try:
                label = GPAWReference(settings).label(atoms)
                row |= {
                    "energy": label.energy / len(atoms),
                    "pressure": -float(label.stress[:3].mean()) / GPa,
                    "forces": label.forces.tolist(),
                    "iterations": label.iterations,
                    "cpu": label.core_seconds,
                }
            except ReferenceFailed as failure:
                row["failed"] = failure.reason
            self.path.parent.mkdir(exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.known[key] = row
        return self.known[key]


def measure(store: Store, systems: list[str]) -> None:
    for system in systems:
        level = LEVELS[system]
        for name, atoms in phases()[system].items():
            for cutoff in level["cutoffs"]:
                store.ask(f"{system}/{name}/{cutoff}/{level['spacing']}", atoms, cutoff, level["spacing"])
            for spacing in level["spacings"]:
                if spacing < DEAREST.get((system, name), 0):
                    continue
                store.ask(f"{system}/{name}/{level['cutoff']}/{spacing}", atoms, level["cutoff"], spacing)
    for system in systems:
        level, atoms = LEVELS[system], random_cells()[system]
        for cutoff in level["cutoffs"][:3]:
            store.ask(f"{system}/random/{cutoff}/{level['spacing']}", atoms, cutoff, level["spacing"])
        for spacing in [s for s in level["spacings"] if s >= DEAREST.get((system, "random"), 0.3)]:
            store.ask(f"{system}/random/{level['cutoff']}/{spacing}", atoms, level["cutoff"], spacing)


def print_tables(store: Store, systems: list[str]) -> None:
    for system in systems:
        level = LEVELS[system]
        for what, scan, fixed in (
            ("cutoff, eV", level["cutoffs"], "{x}/" + str(level["spacing"])),
            ("k-spacing, 1/Å", level["spacings"], str(level["cutoff"]) + "/{x}"),
        ):
            names = [*phases()[system], "random"]
            print(f"\n### {system}: {what}\n")
            print("| " + what + " | " + " | ".join(f"{n}: dE meV/atom, dP GPa, CPU s" for n in names) + " | order, meV/atom |")
            print("|---" * (len(names) + 2) + "|")
            rows = {x: [store.known.get(f"{system}/{n}/{fixed.format(x=x)}") for n in names] for x in scan}
            last = [next((r[k] for r in reversed(rows.values()) if r[k] and "energy" in r[k]), None) for k in range(len(names))]
            for x, found in rows.items():
                cells = [_cell(row, end) for row, end in zip(found, last, strict=True)]
                order = [r["energy"] - found[0]["energy"] for r in found[:-1] if r and found[0] and "energy" in r]
                print(f"| {x} | " + " | ".join(cells) + " | " + ", ".join(f"{1e3 * e:.1f}" for e in order) + " |")


def _cell(row: dict | None, end: dict | None) -> str:
    if row is None or end is None:
        return "-"
    if "failed" in row:
        return row["failed"]
    de, dp = 1e3 * (row["energy"] - end["energy"]), row["pressure"] - end["pressure"]
    df = np.abs(np.array(row["forces"]) - np.array(end["forces"])).max()
    return f"{de:.1f}, {dp:+.2f}, {row['cpu']:.1f}" + (f" (dF {df:.2f} eV/Å)" if "random" in row["key"] else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(LEVELS), default=list(LEVELS))
    parser.add_argument("--table-only", action="store_true", help="print what is known, compute nothing")
    given = parser.parse_args()
    store = Store(STORE)
    if not given.table_only:
        measure(store, given.systems)
    print_tables(store, given.systems)


if __name__ == "__main__":
    main()
