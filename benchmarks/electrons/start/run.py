"""Self-consistent calculations of GPAW from superposed atoms, from the emulator's density and from the exact one, on unseen cells.

    OMP_NUM_THREADS=1 python benchmarks/electrons/start/run.py [--only aluminium slab magnesia]

For each material: snapshots are made and an emulator fitted to all but the last two, which are then computed from every start. The start
from atoms is that of the best of several mixers found on the first snapshot, not of the default. CPU time holds the making of the density;
saving: below that of atoms; share: of the exact density's saving that the emulator reaches. Everything is kept in --out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk, fcc100

from nucleate.electrons.data.sampling import label_structures
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.emulator.emulator import EmulatorTraining, fit_emulator, starting_density
from nucleate.electrons.emulator.gpaw_start import Converged, converge
from nucleate.electrons.settings import GroundStateSettings

MIXERS: dict[str, dict[str, Any]] = {
    "default": {},
    "pulay 0.25": {"mixer": {"backend": "pulay", "beta": 0.25}},
    "pulay 0.5": {"mixer": {"backend": "pulay", "beta": 0.5}},
    "pulay 0.7": {"mixer": {"backend": "pulay", "beta": 0.7}},
}
FIXED = (0, 2, 5)
"""Steps of the eigensolver at a fixed density that are tried after a start from a density."""


def materials() -> dict[str, tuple[list[Atoms], GroundStateSettings]]:
    """Rattled cells and how they are computed."""

    def rattled(atoms: Atoms, count: int, width: float) -> list[Atoms]:
        found = []
        for seed in range(count):
            copy = atoms.copy()
            copy.rattle(width, seed=seed)
            found.append(copy)
        return found

    slab = fcc100("Al", (1, 1, 8), a=4.0, vacuum=5.0)
    slab.pbc = True
    common = {"sigma": 0.2, "spacing": 0.2}
    return {
        "aluminium": (rattled(bulk("Al", cubic=True) * (2, 1, 1), 6, 0.12), GroundStateSettings(cutoff=200, k_spacing=0.3, **common)),
        "slab": (rattled(slab, 6, 0.08), GroundStateSettings(cutoff=200, k_spacing=0.3, **common)),
        "magnesia": (
            rattled(bulk("MgO", "rocksalt", a=4.2, cubic=True), 6, 0.08),
            GroundStateSettings(cutoff=600, k_spacing=0.6, **common),
        ),
    }


def told(label: str, run: Converged, before: float = 0.0) -> dict[str, Any]:
    """One row; `before`: CPU-seconds that making the start took."""
    return {"start": label, "iterations": run.iterations, "cpu": run.cpu_seconds + before, "free": run.free_energy}


def compared(out: Path, structures: list[Atoms], settings: GroundStateSettings) -> list[dict[str, Any]]:
    """All starts of the last two structures."""
    label_structures(out, structures, settings)
    paths = snapshot_paths(out)
    emulator = fit_emulator(paths[:-2], out, EmulatorTraining())
    first = read_snapshot(paths[0], ldos=False)
    tries = {name: converge(first.atoms, settings, options=options) for name, options in MIXERS.items()}
    best = min(tries, key=lambda name: tries[name].cpu_seconds)
    rows = []
    for path in paths[-2:]:
        snapshot = read_snapshot(path, ldos=False)
        assert snapshot.density is not None
        shape = snapshot.density.shape
        before = time.process_time()
        own = starting_density(emulator, snapshot.atoms, settings, shape)
        making = time.process_time() - before
        atoms = converge(snapshot.atoms, settings, options=MIXERS[best])
        found = [told(f"atoms, {best}", atoms), told("atoms, default", converge(snapshot.atoms, settings))]
        for name, density in (("exact", atoms.density), ("emulator", own.density)):
            for steps in FIXED:
                run = converge(snapshot.atoms, settings, density=density, fixed_steps=steps, options=MIXERS[best])
                found.append(told(f"{name}, {steps} fixed", run, making if name == "emulator" else 0.0))
        found.append(told("exact potential", converge(snapshot.atoms, settings, potential=atoms.potential, options=MIXERS[best])))
        error = 100 * float(np.abs(own.density - atoms.density).sum() / atoms.density.sum())
        rows.append({"structure": path.stem, "error": error, "expected": own.expected_error, "runs": found})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/starts"))
    a = parser.parse_args()
    print("| material | structure | density's error, % | start | iterations | CPU-s | saving | share of the exact one's |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (structures, settings) in materials().items():
        if a.only and name not in a.only:
            continue
        out = a.out / name
        out.mkdir(parents=True, exist_ok=True)
        ase.io.write(out / "structures.extxyz", structures)
        done = out / "rows.json"
        if not done.exists():
            done.write_text(json.dumps(compared(out, structures, settings)))
        for row in json.loads(done.read_text()):
            atoms = row["runs"][0]["cpu"]
            exact = atoms - min(run["cpu"] for run in row["runs"] if run["start"].startswith("exact,"))
            for run in row["runs"]:
                saved = atoms - run["cpu"]
                share = f"{100 * saved / exact:.0f} %" if run["start"].startswith("emulator") and exact > 0 else ""
                cells = (name, row["structure"], f"{row['error']:.2f}", run["start"], run["iterations"], f"{run['cpu']:.1f}")
                print("|", " | ".join(map(str, cells)), f"| {100 * saved / atoms:.0f} % | {share} |", flush=True)


if __name__ == "__main__":
    main()
