"""Time and memory of a prediction against the number of atoms.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only be-8
    nucleate electrons train runs/electrons/be-8 --out runs/electrons/models/be-8
    OMP_NUM_THREADS=1 python benchmarks/electrons/size/run.py --model runs/electrons/models/be-8 --atoms 128 256 512 1024 2048

hcp beryllium, rattled by 0.05 Å, the whole prediction (density of states, density, free energy) in a process of its own for each size;
with --forces also forces and stress, with --workers on several cores. The peak of memory is that of the process and its children. The last
line is the exponent of a power law through the sizes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.build import bulk

from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict


def cell(atoms: int):
    """hcp beryllium of about so many atoms, near a cube."""
    best = min(
        ((n1, n2, n3) for n1 in range(2, 60) for n2 in (n1,) for n3 in range(1, 60)),
        key=lambda n: (abs(4 * n[0] * n[1] * n[2] - atoms), abs(n[0] * 2.27 * 1.3 - n[2] * 3.57)),
    )
    made = bulk("Be", "hcp", a=2.27, c=3.57, orthorhombic=True) * best
    made.rattle(0.05, seed=0)
    return made


def one(model: Path, atoms: int, forces: bool, workers: int, temperature: float) -> None:
    """Predict one size and print what it took."""
    structure, known = cell(atoms), ElectronModel.load(model)
    started, spent = time.monotonic(), time.process_time()
    found = predict(known, structure, temperature, forces=forces, workers=workers, path=model / "model.safetensors")
    wall, own = time.monotonic() - started, time.process_time() - spent
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "atoms": len(structure), "points": found.grid.size, "wall": wall, "cpu": own + usage[1].ru_utime + usage[1].ru_stime,
                "memory": sum(u.ru_maxrss for u in usage) / 2**20, "free": float(found.terms.free) / len(structure),
            }
        )
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--atoms", type=int, nargs="+", default=[128, 256, 512, 1024, 2048])
    parser.add_argument("--forces", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1000.0)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        one(a.model, a.one, a.forces, a.workers, a.temperature)
        return
    print("| atoms | points | CPU-s | CPU h | CPU-ms an atom | wall s | peak memory, GiB | free energy, eV/atom |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for atoms in a.atoms:
        command = [sys.executable, __file__, "--model", str(a.model), "--one", str(atoms), "--workers", str(a.workers)]
        command += ["--temperature", str(a.temperature), *(["--forces"] if a.forces else [])]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        rows.append(row)
        print(
            f"| {row['atoms']} | {row['points']} | {row['cpu']:.1f} | {row['cpu'] / 3600:.4f} | {1e3 * row['cpu'] / row['atoms']:.0f} | "
            f"{row['wall']:.1f} | {row['memory']:.2f} | {row['free']:.4f} |",
            flush=True,
        )
    if len(rows) > 1:
        exponent = np.polyfit(np.log([row["atoms"] for row in rows]), np.log([row["cpu"] for row in rows]), 1)[0]
        print(f"\nCPU time ~ atoms^{exponent:.3f}")


if __name__ == "__main__":
    main()
