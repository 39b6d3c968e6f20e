"""Weight of the labels near a minimum in the training of `nucleate check --train`: phonons of silicon on SevenNet-0, a smooth surrogate.

    OMP_NUM_THREADS=1 python benchmarks/stability/near_weight/run.py --folder Si8 [--shares 0.9 0.99 0.999] [--seeds 2]

Silicon is searched on the surrogate. The committee of the search is trained on labels near diamond with each share of the weights, and
its frequencies are compared with those of the surrogate at the q points that fit into the supercell of 16 atoms. CHGNet does not serve
here: its frequencies of silicon change by 1 THz between displacements of 0.01 and 0.06 Å, those of SevenNet-0 by 0.06 THz.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

import nucleate
from nucleate.benchmark.result_file import ResultFile
from nucleate.polymorphs.stability import near_minimum, refinement

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "silicon_phonons"))

from comparison import compare

REFERENCE = "7net-0"


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| share of the weights | seed | labels | rms deviation, THz | largest, THz | force error, eV/Å |", "|" + "---|" * 6]
    for row in sorted(data["rows"], key=lambda row: (row["train"], row["share"], row["seed"])):
        share, seed = (f"{row['share']:g}", row["seed"]) if row["train"] else ("", "")
        error = "" if row["force_error"] is None else f"{row['force_error']:.3f}"
        lines.append(f"| {share} | {seed} | {row['train']} | {row['rms']:.2f} | {row['largest']:.2f} | {error} |")
    return "\n".join(lines)


def main() -> None:
    """Train with each share and each seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.9, 0.99, 0.999])
    parser.add_argument("--seeds", type=int, default=2, help="number of trainings with each share, each with structures of its own")
    parser.add_argument("--train", type=int, default=12, help="number of labels near the minimum")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": REFERENCE, "formula": "Si8", "seed": 1, "supercell": "2x2x2"}, ("sevenn", "phonopy"))
    if not (a.folder / "run.toml").exists():
        nucleate.search("Si8", reference=REFERENCE, prototypes=False, seed=1, workers=0, out=a.folder)
    tasks = [(0, 0.0, 0)] + [(a.train, share, near_minimum.SEED + k) for share in a.shares for k in range(a.seeds)]
    for train, share, seed in tasks:
        if result.find(train=train, share=share, seed=seed) is None:
            refinement.NEAR_SHARE = share
            rows = compare(a.folder, (2, 2, 2), None, train, seed, f"check-{train}-{share:g}-{seed}")
            difference = np.array([np.array(row["committee"]) - np.array(row["reference"]) for row in rows])
            result.add(
                train=train, share=share, seed=seed, rms=round(float(np.sqrt((difference**2).mean())), 4),
                largest=round(float(np.abs(difference).max()), 4), force_error=rows[0]["force_error"],
            )  # fmt: skip
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
