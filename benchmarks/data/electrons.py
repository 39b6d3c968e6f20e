"""Snapshots with their electrons: solid aluminium and its melt, beryllium, iron with both spins, silicon and magnesia.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py [--only al-300K-v165] --out runs/electrons

Settings: electrons.toml beside this file. Cells are what two cores can afford: 16 atoms of aluminium (70 to 90 core-s a snapshot), 8 to 64
of beryllium, 2 of iron, 8 of silicon and magnesia. Dynamics: EMT for aluminium, CHGNet for the others; the electrons are GPAW's, LDA, HGH
pseudopotentials. A stopped run goes on. The convergence of each folder is measured after all snapshots; --no-convergence leaves it out. The
crystal of a folder with `stack` is a stack of close-packed beryllium layers, one atom each.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from nucleate.electrons.data.sampling import SampleSettings, sample
from nucleate.electrons.events import SnapshotDone, SnapshotFailed
from nucleate.persist.toml import read_settings
from nucleate.progress import Event

A, C = 2.27, 3.57
"""Lattice constants of beryllium in Å, of which only the ratio matters."""
PLACES = {"A": (0, 0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}


def stacked(sequence: str, volume: float) -> Atoms:
    """Return close-packed layers of beryllium, such as ABAB, at a volume per atom in Å³."""
    scale = (volume / (A**2 * 3**0.5 / 2 * C / 2)) ** (1 / 3)
    positions = [(*PLACES[letter], k / len(sequence)) for k, letter in enumerate(sequence)]
    cell = scale * np.array([[A, 0, 0], [-A / 2, A * 3**0.5 / 2, 0], [0, 0, len(sequence) * C / 2]])
    return Atoms(f"Be{len(sequence)}", scaled_positions=positions, cell=cell, pbc=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="tables of the settings file; all if left out")
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_suffix(".toml"))
    parser.add_argument("--no-convergence", dest="convergence", action="store_false")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons"))
    a = parser.parse_args()
    every = read_settings(a.settings)
    names = a.only or [name for name in every if name != "common"]
    for convergence, name in [(False, name) for name in names] + [(True, name) for name in names if a.convergence]:
        common = every["common"][every[name]["like"]]
        own: dict[str, Any] = {part: {**common.get(part, {}), **every[name].get(part, {})} for part in ("dynamics", "ground_state")}
        crystal = None
        if "stack" in every[name]:
            crystal = stacked(every[name]["stack"], own["dynamics"]["volume"])
        elif "crystal" in common:
            crystal = bulk(**common["crystal"])
        if crystal is not None:
            own["dynamics"]["material"] = str(a.out / f"{name}.xyz")
            a.out.mkdir(parents=True, exist_ok=True)
            ase.io.write(a.out / f"{name}.xyz", crystal)

        def progress(event: Event, name: str = name) -> None:
            if isinstance(event, SnapshotDone):
                spent = f"{event.details['cpu_seconds']:.0f} core-s, {event.details['iterations']} iterations"
                print(f"{name} {event.number}: {spent}", flush=True)
            elif isinstance(event, SnapshotFailed):
                print(f"{name} {event.number} failed: {event.reason}", flush=True)

        sample(a.out / name, SampleSettings.model_validate(own), a.workers, progress=progress, convergence=convergence)


if __name__ == "__main__":
    main()
