"""Time and memory of a prediction against the number of atoms, up to 131,072 atoms with two stacking faults.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only be-8 be-16 be-dhcp
    cd runs/electrons && OMP_NUM_THREADS=1 nucleate electrons train be-8 be-16 be-dhcp --out models/be
    OMP_NUM_THREADS=1 python benchmarks/electrons/size/run.py --model runs/electrons/models/be --out runs/electrons/size

Close-packed layers of beryllium, hcp with two growth faults, displaced at random by 0.05 Å; the whole prediction (density of states,
density, free energy) in a process of its own for each size. Finished slabs of the grid are kept in --out, a stopped run resumes, and the
CPU time is that of all its parts. The peak of memory is that of the process (and of its children with --workers). A size that is in the
result file is not run again. With --forces also forces and stress. With --workers, the CPU time of parts that were stopped is not complete.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ase import Atoms

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.model.model import ElectronModel
from nucleate.electrons.model.prediction import predict
from nucleate.progress import Event

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "data"))
from electrons import stacked

SIZES = {512: (8, 8), 1024: (8, 16), 2048: (8, 32), 16384: (16, 64), 131072: (32, 128)}
"""Number of atoms: copies along both vectors of the layers, and number of layers."""
PUBLISHED = 121.0
"""CPU hours of 131,072 atoms of beryllium with a stacking fault: L. Fiedler et al., npj Comput. Mater. 9, 115 (2023)."""


def cell(atoms: int, volume: float) -> Atoms:
    """Return layers with two growth faults at a volume in Å³/atom."""
    copies, layers = SIZES[atoms]
    made = stacked("AB" * (layers // 4) + "CB" * (layers // 4), volume) * (copies, copies, 1)
    made.rattle(0.05, seed=0)
    return made


def one(model: Path, atoms: int, volume: float, forces: bool, workers: int, temperature: float, out: Path) -> None:
    """Predict one size and print what it took."""
    structure, known = cell(atoms, volume), ElectronModel.load(model)
    scratch, spent = out / f"scratch-{atoms}", out / f"spent-{atoms}.json"
    before: dict[str, float] = json.loads(spent.read_text()) if spent.exists() else {"wall": 0.0, "cpu": 0.0, "parts": 0}
    started = time.monotonic()

    def usage() -> dict[str, float]:
        every = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "wall": before["wall"] + time.monotonic() - started, "cpu": before["cpu"] + sum(u.ru_utime + u.ru_stime for u in every),
            "parts": before["parts"] + 1, "memory": sum(u.ru_maxrss for u in every) / 2**20,
        }  # fmt: skip

    def progress(event: Event) -> None:
        spent.write_text(json.dumps(usage()))

    found = predict(
        known, structure, temperature, forces=forces, workers=workers, path=model / "model.safetensors", scratch=scratch, progress=progress
    )
    row = {
        "atoms": len(structure), "points": found.grid.size, "workers": workers, **usage(), "free": float(found.terms.free) / len(structure),
        "spread": 1e3 * found.sigma_band,
    }  # fmt: skip
    print(json.dumps(row))


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| atoms | points | worker processes | CPU h | CPU-ms per atom | relative to 512 atoms | peak memory, GiB | free energy, eV/atom |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = sorted(data["rows"], key=lambda row: row["atoms"])
    first = rows[0]["cpu"] / rows[0]["atoms"]
    for row in rows:
        each = row["cpu"] / row["atoms"]
        parts = "" if row["parts"] == 1 else f", in {row['parts']:.0f} parts"
        lines.append(
            f"| {row['atoms']:,} | {row['points']:,} | {row['workers']} | {row['cpu'] / 3600:.3g} | {1e3 * each:.1f} | "
            f"{each / first:.2f} | {row['memory']:.2f}{parts} | {row['free']:.4f} |"
        )
    last = rows[-1]
    if last["atoms"] == max(SIZES):
        hours = last["cpu"] / 3600
        lines.append(
            f"\nMALA's published calculation of a cell of this size took {PUBLISHED:g} CPU h on another machine, "
            f"{PUBLISHED / hours:.0f} times as many."
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--atoms", type=int, nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--forces", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1000.0)
    parser.add_argument("--volume", type=float, default=8.11, help="Å³ per atom, that of the training data")
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/size"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    if a.one:
        one(a.model, a.one, a.volume, a.forces, a.workers, a.temperature, a.out)
        return
    result = ResultFile(a.result, {"temperature": a.temperature, "volume": a.volume, "forces": a.forces})
    for atoms in a.atoms:
        if result.find(atoms=atoms) is not None:
            continue
        command = [sys.executable, __file__, "--model", str(a.model), "--one", str(atoms), "--workers", str(a.workers)]
        command += [
            "--temperature",
            str(a.temperature),
            "--volume",
            str(a.volume),
            "--out",
            str(a.out),
            *(["--forces"] if a.forces else []),
        ]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        result.add(**{name: float(f"{value:.8g}") if isinstance(value, float) else value for name, value in row.items()})
        print(table({"rows": result.rows}), flush=True)
        shutil.rmtree(a.out / f"scratch-{atoms}")


if __name__ == "__main__":
    main()
