"""Time the pretrained potentials: CPU-seconds of a label with energy, forces and stress.

    OMP_NUM_THREADS=1 python benchmarks/performance/pretrained/run.py [--labels 20]

The cells are Si8 (diamond) and Al4O6 (corundum) with Gaussian displacements of 0.1 Å, new ones for each label; the first label, which
loads the weights, is not counted. `mirror` is the largest difference between a component of the forces on the crystal and of those on its
mirror image, which is zero for a potential that is invariant under inversion.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from nucleate.benchmark.result_file import ResultFile
from nucleate.pretrained import PRETRAINED, title_of
from nucleate.reference.surrogates import SurrogateReference

NAMES = [name for name, potential in PRETRAINED.items() if potential.extra == "surrogates"]
"""Potentials of inorganic crystals."""


def cells() -> dict[str, Atoms]:
    """Return the crystals without displacements."""
    corundum = crystal(
        ["Al", "O"], [(0, 0, 0.352), (0.306, 0, 0.25)], spacegroup=167, cellpar=[4.76, 4.76, 12.99, 90, 90, 120], primitive_cell=True
    )
    return {"Si8": bulk("Si", "diamond", a=5.43, cubic=True), "Al4O6": corundum}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| potential | Si8, CPU-s | Al4O6, CPU-s | mirror, meV/Å |", "|---|---|---|---|"]
    for name in NAMES:
        rows = {row["cell"]: row for row in data["rows"] if row["potential"] == name}
        mirror = 1e3 * max(row["mirror"] for row in rows.values())
        lines.append(f"| {title_of(name)} | {rows['Si8']['seconds']:.3f} | {rows['Al4O6']['seconds']:.3f} | {mirror:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"labels": a.labels, "displacement": 0.1}, ("chgnet", "sevenn"))
    for name in NAMES:
        potential = SurrogateReference(name)
        for formula, perfect in cells().items():
            if result.find(potential=name, cell=formula) is not None:
                continue
            potential.label(perfect)
            seconds, mirror = [], 0.0
            for seed in range(a.labels):
                atoms = perfect.copy()
                atoms.rattle(0.1, seed=seed)
                label = potential.label(atoms)
                seconds.append(label.core_seconds)
                image = atoms.copy()
                image.set_cell(-atoms.cell.array, scale_atoms=True)
                mirror = max(mirror, float(np.abs(potential.label(image).forces + label.forces).max()))
            result.add(potential=name, cell=formula, seconds=median(seconds), mirror=mirror)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
