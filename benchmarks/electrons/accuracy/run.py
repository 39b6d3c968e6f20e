"""Errors of the electrons on unseen snapshots: solid and liquid aluminium, one phase for the other, temperatures in between, sizes.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py
    OMP_NUM_THREADS=1 python benchmarks/electrons/accuracy/run.py [--only phases temperature size]

Trained on the first snapshots of each folder, tested on the last ones and on folders never seen; several seeds of weights and points.
Settings: electrons_accuracy.toml beside this file, chosen on two solid snapshots that are among those tested.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.training import ElectronTraining, errors_on, split, train
from nucleate.persist.toml import read_settings

SOLID = ["al-solid", "al-solid-2"]
LIQUID = ["al-liquid", "al-liquid-2", "al-liquid-3", "al-liquid-4"]
WARM = ["al-100K", "al-298K", "al-298K-small", "al-298K-large", "al-500K", "al-500K-small", "al-500K-large", "al-933K-small"]
TRAININGS = {
    "phases": {"solid and liquid": SOLID + LIQUID, "solid alone": SOLID, "liquid alone": LIQUID},
    "temperature": {"100, 298, 500, 933 K": WARM + SOLID},
    "size": {"8 and 16 atoms": ["be-8", "be-16-train"]},
}
TESTS = {
    "phases": SOLID + LIQUID,
    "temperature": [*WARM, "al-700K", *SOLID],
    "size": ["be-8", "be-16-train", "be-16", "be-32", "be-64"],
}
KEYS = ("density", "dos", "band", "free", "sigma_band")
COLUMNS = (
    "trained on", "tested on", "seed", "snapshots", "density, %", "density of states, %", "band energy, meV/atom: mean, rms",
    "free energy: mean, rms", "committee's spread", "mean F, eV/atom: predicted, GPAW", "CPU-s of training",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    a = parser.parse_args()
    settings = read_settings(a.settings)
    print("|", " | ".join(COLUMNS), "|\n" + "|---" * len(COLUMNS) + "|")
    for group in a.only:
        for name, folders in TRAININGS[group].items():
            for seed in range(a.seeds):
                own = ElectronTraining.model_validate({**settings, "seed": seed})
                data = [a.data / folder for folder in folders]
                out = a.out / f"{group}-{'-'.join(folders)}-{seed}"
                done = out / "errors.json"
                if done.exists():
                    model = ElectronModel.load(out)
                    rows = json.loads(done.read_text())
                else:
                    model, _ = train(data, out, own)
                    held = split(data, own)["validation"]
                    rows = {}
                    for folder in TESTS[group]:
                        paths = [p for p in snapshot_paths(a.data / folder) if p in held or a.data / folder not in data]
                        rows[folder] = [vars(errors_on(model, read_snapshot(path))) for path in paths]
                    done.write_text(json.dumps(rows))
                for folder, found in rows.items():
                    of = {key: np.array([row[key] for row in found]) for key in (*KEYS, "predicted_free", "true_free")}
                    rms = {key: float(np.sqrt((of[key] ** 2).mean())) for key in KEYS}
                    cells = (
                        name, folder, seed, len(found), f"{rms['density']:.2f}", f"{rms['dos']:.2f}",
                        f"{of['band'].mean():+.1f}, {rms['band']:.1f}", f"{of['free'].mean():+.1f}, {rms['free']:.1f}",
                        f"{of['sigma_band'].mean():.1f}", f"{of['predicted_free'].mean():.4f}, {of['true_free'].mean():.4f}",
                        f"{model.facts['cpu_seconds']:.0f}",
                    )  # fmt: skip
                    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
