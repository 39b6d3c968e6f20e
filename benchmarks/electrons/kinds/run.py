"""Kinds of matter: electrons of iron with both spins, silicon and magnesia, on snapshots of other trajectories and strains.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only si-1 si-2 mgo-1 mgo-2 fe-1 fe-2 --no-convergence
    OMP_NUM_THREADS=1 python benchmarks/electrons/kinds/run.py --seeds 3

Models are trained on the first folder of a material and tested on the second one. The weight of free energies is `free_weight`; "Fermi
level" treats insulators as metals, `occupied = false`. "As trained" is the error of the mean moment or gap of the snapshots that were
trained on. The time of a point is that of h for both members on one thread. Settings: settings.toml beside this file. A finished training
is kept, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import math
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import span
from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.model.blocks import block_indices
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.errors import BadInput

MATERIALS = {"iron, both spins": "fe", "silicon": "si", "magnesia": "mgo"}
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "Fermi level": {"occupied": False},
    "without weight of free energies": {"free_weight": 0.0},
    "Fermi level, without this weight": {"free_weight": 0.0, "occupied": False},
}


def moment_of(snapshot: Snapshot) -> float:
    """Return GPAW's moment in Bohr magnetons an atom; NaN without spin."""
    if snapshot.spin_density is None:
        return math.nan
    return float(snapshot.spin_density.mean()) * snapshot.atoms.get_volume() / len(snapshot.atoms)


def gap_of(snapshot: Snapshot) -> float:
    """Return GPAW's band gap in eV; NaN for metals."""
    if not snapshot.insulating or snapshot.band_edges is None:
        return math.nan
    return snapshot.band_edges[1] - snapshot.band_edges[0]


def milliseconds(model: ElectronModel, snapshot: Snapshot) -> float:
    """Return the processor time of h of a grid point, ms."""
    n1, n2, n3 = snapshot.ldos.shape[:3]
    started = time.process_time()
    with torch.no_grad():
        field = Field.of(model, snapshot.atoms, (n1, n2, n3))
        for index in batches(block_indices((n1, n2, n3))):
            field.hidden(index)
    return 1e3 * (time.process_time() - started) / (n1 * n2 * n3)


def rms(values: list[float]) -> float | None:
    """Return the root mean square; None if there are no values."""
    known = [value for value in values if not math.isnan(value)]
    return round(float(np.sqrt(np.mean(np.square(known)))), 4) if known else None


def trained(data: Path, name: str, own: dict[str, Any], place: Path) -> dict[str, Any]:
    """Train on the first folder; return the errors on the second one."""
    model, _ = train([data / f"{name}-1"], place, ElectronTraining.model_validate({**own, "validation": 0.0}))
    known = [read_snapshot(path, ldos=False) for path in snapshot_paths(data / f"{name}-1")]
    tested = [read_snapshot(path) for path in snapshot_paths(data / f"{name}-2")]
    found, refused = [], 0
    for snapshot in tested:
        try:
            found.append(errors_on(model, snapshot, forces=True))
        except BadInput:
            refused += 1
            found.append(errors_on(model, snapshot))
    row: dict[str, Any] = {"trained_on": len(known), "snapshots": len(tested), "without_forces": refused}
    for key in ("density", "dos", "band", "free", "forces", "pressure", "spin_density", "moment", "gap"):
        row[key] = rms([getattr(e, key) for e in found])
    for key, of in (("moment", moment_of), ("gap", gap_of)):
        mean = float(np.mean([of(snapshot) for snapshot in known]))
        row[f"{key}_values"] = [round(of(snapshot), 4) for snapshot in tested if not math.isnan(of(snapshot))]
        row[f"{key}_as_trained"] = rms([mean - of(snapshot) for snapshot in tested])
    return {**row, "cpu": round(model.facts["cpu_seconds"]), "point_ms": round(milliseconds(model, tested[0]), 4)}


COLUMNS = (
    "material", "training", "seeds", "trained on", "snapshots", "density, %", "density of states, %", "band energy, meV/atom",
    "free energy", "forces, meV/Å", "pressure, GPa", "moment, μB/atom (as trained)", "gap, eV (as trained)", "training, CPU-s",
    "a point, CPU-ms",
)  # fmt: skip
DIGITS = {"density": 2, "dos": 1, "band": 0, "free": 0, "forces": 0, "pressure": 1, "moment": 3, "gap": 3, "cpu": 0, "point_ms": 3}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: lowest and highest value over the seeds of rms errors."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for material in MATERIALS:
        for arm in ARMS:
            mine = [row for row in data["rows"] if (row["material"], row["arm"]) == (material, arm)]
            if not mine:
                continue
            cells = [material, arm, str(len(mine)), str(mine[0]["trained_on"]), str(mine[0]["snapshots"])]
            for key, digits in DIGITS.items():
                values = [row[key] for row in mine if row[key] is not None]
                cell = span(values, digits) if values else ""
                if cell and f"{key}_as_trained" in mine[0]:
                    cell += f" ({mine[0][f'{key}_as_trained']:.{digits}f})"
                cells.append(cell)
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--materials", nargs="+", choices=list(MATERIALS), default=list(MATERIALS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    with Path(__file__).with_name("settings.toml").open("rb") as file:
        settings = tomllib.load(file)
    result = ResultFile(a.result, {"training": settings}, ("gpaw",))
    for seed in range(a.seeds):
        for material in a.materials:
            for arm, own in ARMS.items():
                key = {"material": material, "arm": arm, "seed": seed}
                if result.find(**key) is not None or (own.get("occupied") is False and MATERIALS[material] == "fe"):
                    continue
                place = a.out / f"{MATERIALS[material]}-{arm.replace(' ', '_')}-{seed}"
                row = trained(a.data, MATERIALS[material], {**settings, **own, "seed": seed}, place)
                result.add(**key, **row)
                print(key, row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
