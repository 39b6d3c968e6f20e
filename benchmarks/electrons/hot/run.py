"""Electrons hotter than the ions: errors of a model at an electronic temperature that it was not trained on.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only al-hot-1000 al-hot-5000 al-hot-10000 --no-convergence
    OMP_NUM_THREADS=1 python benchmarks/electrons/hot/run.py --seeds 3

Aluminium, ions at 933 K, electrons at 1,000, 5,000 and 10,000 K, each with structures of its own. A model is trained on two of the folders
and tested on the third. It does not know the electronic temperature of its training data: occupations change with the temperature, the
local density of states itself does not. The heat capacity is that of fixed levels, of the model and of GPAW's density of states. All cells
have one volume and shape, so that the training data say nothing of the derivative with respect to the volume.
Settings: settings.toml beside this file. A finished training is kept, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import span
from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.levels.heat_capacity import heat_capacity
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.prediction import predict
from nucleate.electrons.model.training import ElectronTraining, train

TEMPERATURES = (1000, 5000, 10000)


def folder_of(data: Path, temperature: int) -> Path:
    """Return the data folder of an electronic temperature."""
    return data / f"al-hot-{temperature}"


def heat_of(snapshot: Snapshot) -> float:
    """Return the heat capacity of GPAW's density of states, k_B/atom."""
    energies, dos = torch.tensor(snapshot.energies), torch.tensor(snapshot.dos)
    return heat_capacity(energies, dos, snapshot.electrons, snapshot.sigma, snapshot.temperature) / len(snapshot.atoms)


def trained(data: Path, temperature: int, settings: ElectronTraining, place: Path) -> dict[str, Any]:
    """Train without a temperature; return the errors at it."""
    model, _ = train([folder_of(data, other) for other in TEMPERATURES if other != temperature], place, settings)
    errors, heats = [], []
    for path in snapshot_paths(folder_of(data, temperature)):
        snapshot = read_snapshot(path)
        errors.append(errors_on(model, snapshot, forces=True))
        shape = snapshot.ldos.shape[:3]
        mine = predict(model, snapshot.atoms, snapshot.temperature, shape=(shape[0], shape[1], shape[2])).heat_capacity
        heats.append((mine / len(snapshot.atoms), heat_of(snapshot)))
    row: dict[str, Any] = {"snapshots": len(errors), "free_mean": round(float(np.mean([e.free for e in errors])), 3)}
    for name in ("density", "dos", "band", "free", "forces", "pressure"):
        row[name] = round(float(np.sqrt(np.mean([getattr(e, name) ** 2 for e in errors]))), 4)
    own, gpaw = np.array(heats).T
    return {**row, "heat": round(float(own.mean()), 5), "gpaw_heat": round(float(gpaw.mean()), 5),
            "heat_error": round(float(np.sqrt(np.mean((own / gpaw - 1) ** 2))), 5)}  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| electrons left out, K | seeds | snapshots | density, % | density of states, % | band energy, meV/atom | free energy: mean; rms "
        "| forces, meV/Å | pressure, GPa | heat capacity, k_B/atom: model | GPAW | relative error, % |",
        "|" + "---|" * 12,
    ]
    for temperature in TEMPERATURES:
        rows = [row for row in data["rows"] if row["temperature"] == temperature]
        if not rows:
            continue

        def over(name: str, digits: int, factor: float = 1.0, rows: list[dict[str, Any]] = rows) -> str:
            return span([factor * row[name] for row in rows], digits)

        cells = [f"{temperature:,}", str(len(rows)), str(rows[0]["snapshots"]), over("density", 2), over("dos", 2), over("band", 0)]
        cells += [f"{over('free_mean', 0)}; {over('free', 0)}", over("forces", 0), over("pressure", 1)]
        cells += [over("heat", 3), over("gpaw_heat", 3), over("heat_error", 1, 100.0)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--temperatures", nargs="+", type=int, choices=TEMPERATURES, default=list(TEMPERATURES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    with Path(__file__).with_name("settings.toml").open("rb") as file:
        settings = tomllib.load(file)
    result = ResultFile(a.result, {"training": settings}, ("gpaw",))
    for seed in range(a.seeds):
        for temperature in a.temperatures:
            if result.find(temperature=temperature, seed=seed) is None:
                own = ElectronTraining.model_validate({**settings, "validation": 0.0, "seed": seed})
                result.add(temperature=temperature, seed=seed, **trained(a.data, temperature, own, a.out / f"hot-{temperature}-{seed}"))
                print(result.rows[-1], flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
