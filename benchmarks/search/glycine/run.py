"""a2a on glycine crystals, trained on two molecules in the cell, tested on one to four: sizes, reach, functions, batches, informants.

    OMP_NUM_THREADS=1 python benchmarks/data/glycine.py --count 10000 --out runs/glycine.extxyz
    OMP_NUM_THREADS=1 python benchmarks/search/glycine/run.py

Labels are GFN1-xTB's at the Gamma point, a semi-empirical stand-in. After E. Küçükbenli's lectures on neural networks for crystal
structure prediction (SISSA): 0.33 mRy/atom after 130,000 steps and 0.41 in the table of Z, target 0.3, forces ten times over the threshold.
A tenth of the parents with Z = 2 is held back. Settings: glycine.toml beside this file. Every finished training is kept in --out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import ase.io
import numpy as np

from nucleate.persist.toml import read_settings
from nucleate.training.folder import read_events
from nucleate.training.run import evaluate, fit

MRY = 1000 / 13.605693
"""mRy in an eV."""
MOST = 600
"""Structures of each Z tested on."""


def divide(source: Path, out: Path, seed: int) -> tuple[Path, Path]:
    """Training file (Z = 2) and test file (Z = 1 to 4, no parent of the training)."""
    train, test = out / "train.extxyz", out / "test.extxyz"
    if train.exists() and test.exists():
        return train, test
    out.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(source, index=":")
    rng = np.random.default_rng(seed)
    parents = sorted({str(atoms.info["group"]) for atoms in frames if atoms.info["z"] == 2})
    held = set(rng.permutation(parents)[: len(parents) // 10].tolist())
    chosen = []
    for z in (1, 2, 3, 4):
        mine = [atoms for atoms in frames if atoms.info["z"] == z and (z != 2 or str(atoms.info["group"]) in held)]
        chosen += [mine[k] for k in sorted(rng.permutation(len(mine))[:MOST])]
    ase.io.write(test, chosen)
    ase.io.write(train, [atoms for atoms in frames if atoms.info["z"] == 2 and str(atoms.info["group"]) not in held])
    return train, test


def first_structures(source: Path, count: int) -> Path:
    """A file of the first structures."""
    target = source.with_name(f"{source.stem}-{count}.extxyz")
    if not target.exists():
        ase.io.write(target, ase.io.read(source, index=f":{count}"))
    return target


def run(name: str, own: dict[str, Any], train: Path, out: Path) -> tuple[Path, float]:
    """A finished training and its CPU-seconds; what is there already is not repeated."""
    steer, count = own.pop("steer", []), own.pop("structures", None)
    folder = out / f"{name}-{hashlib.sha256(str((sorted(own.items()), steer, count)).encode()).hexdigest()[:8]}"
    replay = None
    if steer:
        replay = folder.with_suffix(".steering")
        replay.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"event": "steer", "step": step, "command": command}) for step, command in steer]
        (replay / "events.jsonl").write_text("\n".join(lines) + "\n")
    fit(train if count is None else first_structures(train, count), folder, own, replay=replay)
    return folder, next(event["cpu_seconds"] for event in read_events(folder) if event["event"] == "finished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/glycine.extxyz"))
    parser.add_argument("--models", nargs="+", help="tables of the settings file; all if left out")
    parser.add_argument("--seed", type=int, default=0, help="of the division and of the weights")
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--out", type=Path, default=Path("runs/glycine"))
    a = parser.parse_args()
    settings = read_settings(a.settings)
    train, test = divide(a.data, a.out / f"division-{a.seed}", a.seed)
    informed = []
    print("| model | weights | steps | CPU-s | Z = 1 | Z = 2 | Z = 3 | Z = 4 |\n|---|---|---|---|---|---|---|---|")
    for name in a.models or [name for name in settings if name != "common"]:
        own = {**settings["common"], **settings[name], "seed": a.seed}
        own["options"] = {**settings["common"].get("options", {}), **settings[name].get("options", {})}
        folder, spent = run(name, own, train, a.out)
        found = evaluate(folder, test)
        parts = [found["by_formula"][f"C{2 * z}H{5 * z}N{z if z > 1 else ''}O{2 * z}"] for z in (1, 2, 3, 4)]
        errors = [f"{MRY * part['energy_rmse']:.2f}, {part['force_rmse']:.2f}" for part in parts]
        steps = next(event["step"] for event in read_events(folder) if event["event"] == "finished")
        print("|", " | ".join([name, str(found["parameters"]), str(steps), f"{spent:.0f}", *errors]), "|", flush=True)
        for event in read_events(folder):
            if event["event"] == "evaluation":
                shares = event["validation"]["informants"]
                informed.append((name, event["step"], *(f"{shares[symbol]:.2f}" for symbol in "HCNO")))
    print("\nmRy/atom, eV/Å. Share of each species in the variance of the energy per atom (validation):\n")
    print("| model | step | H | C | N | O |\n|---|---|---|---|---|---|")
    for row in informed:
        print("|", " | ".join(str(cell) for cell in row), "|")


if __name__ == "__main__":
    main()
