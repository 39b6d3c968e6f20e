"""Both spins: moment, spin density and free energy of bcc iron at volumes that were left out.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only fe-v105 fe-v110 fe-v115 --no-convergence
    OMP_NUM_THREADS=1 python benchmarks/electrons/spin/run.py --seeds 3

The first table has no network: moment and free energy from the stored local density of states, less GPAW's. The second one has the errors
of models on each of the three volumes when the other two are trained on. "As trained" is the error of the mean moment of the training
snapshots. Settings: settings.toml beside this file. A finished training is kept, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.data.ground_state import Snapshot
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.grid import Grid
from nucleate.electrons.levels.fermi_level import fermi_level
from nucleate.electrons.model.prediction import weigher
from nucleate.electrons.model.training import ElectronTraining, errors_on, train
from nucleate.electrons.species import ions_of
from nucleate.electrons.terms.free_energy import density_terms, free_energy

FOLDERS = {"10.5 Å³/atom": "fe-v105", "11.0 Å³/atom": "fe-v110", "11.5 Å³/atom": "fe-v115"}


def moment_of(snapshot: Snapshot) -> float:
    """Return GPAW's moment in Bohr magnetons an atom."""
    assert snapshot.spin_density is not None
    return float(snapshot.spin_density.mean()) * snapshot.atoms.get_volume() / len(snapshot.atoms)


def identities(path: Path) -> dict[str, float]:
    """Return moment (Bohr magnetons an atom) and free energy (meV/atom) from the local density of states, less GPAW's."""
    snapshot = read_snapshot(path)
    assert snapshot.spin_ldos is not None
    n1, n2, n3 = snapshot.ldos.shape[:3]
    grid = Grid(torch.tensor(snapshot.atoms.cell.array), (n1, n2, n3))
    total, difference = (torch.tensor(part).double() for part in (snapshot.ldos, snapshot.spin_ldos))
    energies, states = torch.tensor(snapshot.energies), total.sum((0, 1, 2)) * grid.voxel
    weigh = weigher(energies, snapshot.sigma, snapshot.temperature)
    weights = weigh(fermi_level(energies, states, snapshot.electrons, weigh))
    density, spin = total @ weights.number, difference @ weights.number
    terms = free_energy(
        weights.energy @ states, weights.entropy @ states, density_terms(density, grid, spin=spin),
        torch.tensor(snapshot.atoms.positions), grid.cell, ions_of(snapshot.atoms, snapshot.ions), snapshot.temperature, overlap=True,
    )  # fmt: skip
    atoms, moment = len(snapshot.atoms), moment_of(snapshot)
    return {
        "gpaw_moment": round(moment, 4), "moment": round(float(spin.sum() * grid.voxel) / atoms - moment, 4),
        "free": round(1e3 * (float(terms.free.detach()) - snapshot.terms["free"]) / atoms, 3),
    }  # fmt: skip


def rms(values: list[float]) -> float:
    return round(float(np.sqrt(np.mean(np.square(values)))), 4)


def trained(data: Path, volume: str, own: dict[str, Any], place: Path) -> dict[str, Any]:
    """Train on two volumes; return the errors on the third."""
    paths = [path for name, folder in FOLDERS.items() if name != volume for path in snapshot_paths(data / folder)]
    model, _ = train(paths, place, ElectronTraining.model_validate({**own, "validation": 0.0}))
    tested = [read_snapshot(path) for path in snapshot_paths(data / FOLDERS[volume])]
    found = [errors_on(model, snapshot, forces=True) for snapshot in tested]
    mean = np.mean([moment_of(read_snapshot(path, ldos=False)) for path in paths])
    return {
        "trained_on": len(paths), "snapshots": len(found), "moment": rms([e.moment for e in found]),
        "as_trained": rms([float(mean) - moment_of(snapshot) for snapshot in tested]),
        **{key: rms([getattr(e, key) for e in found]) for key in ("spin_density", "density", "band", "free", "forces", "pressure")},
        "cpu": round(model.facts["cpu_seconds"]),
    }  # fmt: skip


COLUMNS = (
    "left out", "seeds", "trained on", "snapshots", "moment, μB/atom", "as trained", "spin density, %", "density, %",
    "band energy, meV/atom", "free energy", "forces, meV/Å", "pressure, GPa", "training, CPU-s",
)  # fmt: skip
DIGITS = {
    "moment": 3, "as_trained": 3, "spin_density": 2, "density": 2, "band": 0, "free": 0, "forces": 0, "pressure": 1, "cpu": 0,
}  # fmt: skip


def span(values: list[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page: lowest and highest value over the snapshots, and over the seeds of rms errors."""
    exact = [row for row in data["rows"] if row["kind"] == "identity"]
    lines = ["| volume | snapshots | GPAW's moment, μB/atom | moment, less GPAW's | free energy, less GPAW's, meV/atom |", "|---" * 5 + "|"]
    for volume in FOLDERS:
        mine = [row for row in exact if row["volume"] == volume]
        if mine:
            values = [span([row[key] for row in mine], digits) for key, digits in (("gpaw_moment", 3), ("moment", 4), ("free", 2))]
            lines.append(f"| {volume} | {len(mine)} | {' | '.join(values)} |")
    lines += ["", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for volume in FOLDERS:
        mine = [row for row in data["rows"] if row["kind"] == "model" and row["volume"] == volume]
        if mine:
            cells = [volume, str(len(mine)), str(mine[0]["trained_on"]), str(mine[0]["snapshots"])]
            cells += [span([row[key] for row in mine], digits) for key, digits in DIGITS.items()]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    with Path(__file__).with_name("settings.toml").open("rb") as file:
        settings = tomllib.load(file)
    result = ResultFile(a.result, {"training": settings}, ("gpaw",))
    for volume, folder in FOLDERS.items():
        for path in snapshot_paths(a.data / folder):
            key: dict[str, Any] = {"kind": "identity", "volume": volume, "snapshot": path.stem}
            if result.find(**key) is None:
                result.add(**key, **identities(path))
    for seed in range(a.seeds):
        for volume in FOLDERS:
            key = {"kind": "model", "volume": volume, "seed": seed}
            if result.find(**key) is None:
                row = trained(a.data, volume, {**settings, "seed": seed}, a.out / f"{FOLDERS[volume]}-{seed}")
                result.add(**key, **row)
                print(key, row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
