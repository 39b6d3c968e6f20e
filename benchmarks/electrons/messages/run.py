"""Messages between atoms: errors of the electrons on groups that were left out, with and without them.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --no-convergence
    OMP_NUM_THREADS=1 python benchmarks/electrons/messages/run.py --seeds 3

All arms of a group are trained on the same snapshots with the same number of points and steps; with messages, the points are drawn in
groups of neighbours. `half` has every second snapshot, `ablations` half of the steps. The time of a point is that of h for both members
on one thread. Settings: settings.toml beside this file. A finished training is kept, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import span
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.model.blocks import block_indices
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.slabs import Field, batches
from nucleate.electrons.model.training import ElectronTraining, train

SOLID = [f"al-{temperature}K-v{volume}" for volume in (165, 170, 176) for temperature in (500, 933)]
MELT = ["al-liquid-v180-1", "al-liquid-v180-2", "al-liquid-v189-1", "al-liquid-v189-2"]
GROUPS = {
    "17 Å³/atom, solid": [folder for folder in SOLID if folder.endswith("170")],
    "500 K, solid": [folder for folder in SOLID if "-500K-" in folder],
    "18.0 Å³/atom, melt": MELT[:2],
}
MAIN: dict[str, dict[str, Any]] = {
    "descriptor": {}, "descriptor, without weight of integrals": {"integral_weight": 0.0}, "messages": {"messages": {}},
    "descriptor, weight of free energies": {"free_weight": 1000.0},
}  # fmt: skip
ABLATIONS: dict[str, dict[str, Any]] = {
    "descriptor": {},
    **{f"l = {degree}": {"messages": {"degree": degree}} for degree in range(4)},
    "no attention": {"messages": {"heads": 0}},
    "one head": {"messages": {"heads": 1}},
    "one layer": {"messages": {"layers": 1}},
}


def milliseconds(model: ElectronModel, path: Path) -> float:
    """Return the processor time of h of a grid point, ms."""
    snapshot = read_snapshot(path, ldos=False)
    shape = snapshot.ldos.shape[:3]
    started = time.process_time()
    with torch.no_grad():
        field = Field.of(model, snapshot.atoms, shape)
        for index in batches(block_indices(shape)):
            field.hidden(index)
    return 1e3 * (time.process_time() - started) / float(np.prod(shape))


def rms(values: list[float]) -> float:
    return round(float(np.sqrt(np.mean(np.square(values)))), 4)


def trained(data: Path, group: str, own: dict[str, Any], share: int, place: Path) -> dict[str, Any]:
    """Train without a group on every `share`-th snapshot; return the errors on the group."""
    kept = [folder for folder in SOLID + MELT if folder not in GROUPS[group] and (data / folder).is_dir()]
    paths = [path for folder in kept for path in snapshot_paths(data / folder)[::share]]
    model, _ = train(paths, place, ElectronTraining.model_validate({**own, "validation": 0.0}))
    tested = [path for folder in GROUPS[group] if (data / folder).is_dir() for path in snapshot_paths(data / folder)]
    found = [errors_on(model, read_snapshot(path), forces=True) for path in tested]
    return {
        "trained_on": len(paths), "snapshots": len(found), "ldos": rms([e.ldos for e in found]), "density": rms([e.density for e in found]),
        "dos": rms([e.dos for e in found]), "band": rms([e.band for e in found]), "free": rms([e.free for e in found]),
        "forces": rms([e.forces for e in found]), "pressure": rms([e.pressure for e in found]), "cpu": round(model.facts["cpu_seconds"]),
        "point_ms": round(milliseconds(model, tested[0]), 4),
    }  # fmt: skip


COLUMNS = (
    "left out", "features of a point", "seeds", "snapshots, steps", "density, %", "local density of states, %", "density of states, %",
    "band energy, meV/atom", "free energy", "forces, meV/Å", "pressure, GPa", "training, CPU-s", "a point, CPU-ms",
)  # fmt: skip
KEYS = {"density": 3, "ldos": 2, "dos": 2, "band": 0, "free": 0, "forces": 0, "pressure": 1, "cpu": 0, "point_ms": 3}


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page: lowest and highest value over the seeds of rms errors."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    kinds = {(row["group"], row["trained_on"], row["steps"], row["arm"]): None for row in data["rows"]}
    for group, count, steps, arm in sorted(kinds, key=lambda kind: (list(GROUPS).index(kind[0]), -kind[2], -kind[1])):
        mine = [row for row in data["rows"] if (row["group"], row["trained_on"], row["steps"], row["arm"]) == (group, count, steps, arm)]
        cells = [group, arm, str(len(mine)), f"{count}, {steps}"]
        for key, digits in KEYS.items():
            known = [row[key] * (100 if key == "ldos" else 1) for row in mine if key in row]
            cells.append(span(known, digits) if known else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--kinds", nargs="+", choices=["main", "half", "ablations"], default=["main", "half", "ablations"])
    parser.add_argument("--arms", nargs="+", choices=list(MAIN), default=list(MAIN), help="of the main comparison")
    parser.add_argument("--seeds", type=int, default=3, help="of the main comparison; the others have one")
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    with Path(__file__).with_name("settings.toml").open("rb") as file:
        settings = tomllib.load(file)
    result = ResultFile(a.result, {"training": settings}, ("gpaw",))
    tasks = []
    for group in a.groups:
        if "main" in a.kinds:
            tasks += [
                (group, arm, own, 1, settings["steps"], seed) for seed in range(a.seeds) for arm, own in MAIN.items() if arm in a.arms
            ]
        if "half" in a.kinds:
            tasks += [(group, arm, own, 2, settings["steps"], 0) for arm, own in MAIN.items()]
    if "ablations" in a.kinds:
        tasks += [(a.groups[0], arm, own, 1, settings["steps"] // 2, 0) for arm, own in ABLATIONS.items()]
    for group, arm, own, share, steps, seed in tasks:
        key = {"group": group, "arm": arm, "share": share, "steps": steps, "seed": seed}
        if result.find(**key) is None:
            place = a.out / "-".join(str(part).replace("/", "_").replace(" ", "") for part in key.values())
            row = trained(a.data, group, {**settings, **own, "steps": steps, "seed": seed}, share, place)
            result.add(**key, **row)
            print(key, row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
