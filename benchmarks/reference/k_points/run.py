"""One crystal, many descriptions: how far GPAW's energies depend on the vectors and the supercell that describe it.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/reference/k_points/run.py
        [--presets fast standard] [--crystals Al Si] [--table-only]

Five crystals, each with five choices of primitive vectors and five supercells of 2 to 8 cells, at every preset. Some supercells are
calculated twice: as a label is, in one primitive cell, and whole ("raw"), as a supercell is whose atoms are displaced: what that moves is
what the grid is not converged to. `--spacing` computes them at one k-spacing in place of the preset's. Every result is kept in --out, so
that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, make_supercell
from ase.spacegroup import crystal

from nucleate.reference.base import K_POINTS
from nucleate.reference.gpaw import GPAWReference
from nucleate.reference.kpoints import k_grid
from nucleate.reference.settings import ReferenceSettings

CRYSTALS = {
    "Al": bulk("Al", "fcc", 4.05),
    "Mg": bulk("Mg", "hcp", 3.20, 5.20),
    "Si": bulk("Si", "diamond", 5.47),
    "Si beta-tin": crystal("Si", [(0, 0, 0)], spacegroup=141, cellpar=[4.81, 4.81, 2.66, 90, 90, 90], primitive_cell=True),
    "MgO": bulk("MgO", "rocksalt", 4.25),
}
VECTORS = [
    np.eye(3, dtype=int),
    np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]]),
    np.array([[0, 1, 0], [0, 1, 1], [1, 0, 0]]),
    np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]]),
    np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1]]),
]
"""Of determinant 1, and one left-handed."""
SUPERCELLS = {
    "2": np.diag([2, 1, 1]),
    "3": np.diag([1, 1, 3]),
    "4": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]),
    "6": np.array([[1, 1, 0], [-1, 2, 0], [0, 0, 2]]),
    "8": np.diag([2, 2, 2]),
}
"""The third is the conventional cube of a face-centred lattice."""
WHOLE = ("2", "3", "4", "8")
"""Supercells that are calculated whole as well; the sixfold one keeps little symmetry and takes ten times as long as the others."""


def descriptions(atoms: Atoms) -> dict[str, Atoms]:
    """Five choices of primitive vectors and five supercells."""
    found = {}
    for k, matrix in enumerate(VECTORS):
        found[f"vectors {k}"] = atoms.copy()
        found[f"vectors {k}"].set_cell(matrix @ atoms.cell.array, scale_atoms=False)
        found[f"vectors {k}"].wrap()
    supercells = {name: make_supercell(atoms, matrix) for name, matrix in SUPERCELLS.items()}
    found |= {f"supercell {name}": one for name, one in supercells.items()}
    return found | {f"raw {name}": supercells[name] for name in WHOLE}


def ask(store: Path, known: dict[str, dict], name: str, what: str, atoms: Atoms, settings: ReferenceSettings, level: str) -> dict:
    """One calculation, from the store if it is there."""
    key = f"{name}/{what}/{level}"
    if key not in known:
        reference = GPAWReference(settings)
        if what.startswith("raw"):
            atoms.info[K_POINTS] = k_grid(atoms, reference.k_spacing(atoms), primitive=False).as_dict()
        label = reference.label(atoms)
        grid = label.details["k_points"]
        known[key] = {
            "key": key, "energy": label.energy / len(atoms), "cpu": label.core_seconds, "size": grid["size"], "shift": grid["shift"],
            "fmax": float(np.abs(label.forces).max()), "stress": label.stress.tolist(),
        }  # fmt: skip
        store.parent.mkdir(parents=True, exist_ok=True)
        with store.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(known[key]) + "\n")
        print(key, known[key]["size"], f"{known[key]['energy']:.5f} {known[key]['cpu']:.1f} s", flush=True)
    return known[key]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["fast", "standard", "accurate"])
    parser.add_argument("--spacing", type=float, help="1/Å, in place of the preset's")
    parser.add_argument("--crystals", nargs="+", default=list(CRYSTALS), choices=list(CRYSTALS))
    parser.add_argument("--only", default="", help="descriptions whose name begins so")
    parser.add_argument("--out", type=Path, default=Path("runs/k_points.jsonl"))
    parser.add_argument("--table-only", action="store_true", help="print what is known, compute nothing")
    given = parser.parse_args()
    lines = given.out.read_text(encoding="utf-8").splitlines() if given.out.exists() else []
    known = {row["key"]: row for row in map(json.loads, lines)}
    print(
        "| preset | crystal | vectors: spread, meV/atom | supercells: spread | whole: lowest to highest | CPU s: cell; supercells; whole |"
    )
    print("|---|---|---|---|---|---|")
    for preset in given.presets:
        level = preset if given.spacing is None else f"{preset} {given.spacing:g}"
        for name in given.crystals:
            rows = {}
            for what, atoms in descriptions(CRYSTALS[name]).items():
                if what.startswith(given.only) and not (given.table_only and f"{name}/{what}/{level}" not in known):
                    settings = ReferenceSettings(preset=preset, k_spacing=given.spacing)
                    rows[what] = ask(given.out, known, name, what, atoms, settings, level)
            if "vectors 0" not in rows:
                continue
            lowest = rows["vectors 0"]["energy"]
            energy = {
                kind: [1e3 * (row["energy"] - lowest) for what, row in rows.items() if what.startswith(kind)] + [0.0]
                for kind in ("vectors", "supercell", "raw")
            }
            cpu = {
                kind: ", ".join(f"{row['cpu']:.0f}" for what, row in rows.items() if what.startswith(kind)) for kind in ("supercell", "raw")
            }
            print(
                f"| {level} | {name} | {np.ptp(energy['vectors']):.2f} | {np.ptp(energy['supercell']):.2f} | {min(energy['raw']):+.1f} to "
                f"{max(energy['raw']):+.1f} | {rows['vectors 0']['cpu']:.1f}; {cpu['supercell']}; {cpu['raw']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
