"""Every family on DFT labels of silicon and alumina: errors against labels and CPU-seconds, groups held back, several seeds.

    OMP_NUM_THREADS=1 python benchmarks/potentials/learning_curves/run.py --data runs/silicon.extxyz --data runs/alumina.extxyz [--seeds 3]

Labels: benchmarks/data/crystals.py. A fifth of the structures is held back, in groups of similar structures; "low"
ones lie within 1 eV/atom of the lowest of their stoichiometry. Settings: potentials.toml
beside this file; learning rates were chosen on silicon, 100 labels, seed 100. Every finished training is kept in --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.persist.toml import read_settings
from nucleate.training.run import learning_curve

HEAD = """
| model | weights a member | labels | force RMSE, eV/Å | of low ones | energy RMSE, meV/atom | of low ones | training, CPU-s |
|---|---|---|---|---|---|---|---|"""
COLUMNS = (("force_rmse", 1, 2), ("low_force_rmse", 1, 3), ("energy_rmse", 1e3, 0), ("low_energy_rmse", 1e3, 0), ("cpu_seconds", 1, 0))
FAMILIES = ["manybody", "a2a", "soap-krr", "schnet", "painn", "molcnn"]


def span(values: list[float], digits: int) -> str:
    """Mean and range."""
    return f"{np.mean(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--models", nargs="+", default=FAMILIES, help="tables of the settings file")
    parser.add_argument("--labels", type=int, nargs="+", default=[50, 100, 200, 310])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--settings", type=Path, default=Path(__file__).with_name("settings.toml"))
    parser.add_argument("--out", type=Path, default=Path("runs/potentials"))
    a = parser.parse_args()
    settings = read_settings(a.settings)
    for data in a.data:
        print(f"\n{data.stem}\n{HEAD}")
        for name in a.models:
            own: dict[str, Any] = {**settings["common"], **settings.get(name, {})}
            family = own.pop("model", name)
            for size in a.labels:
                rows = learning_curve(data, [family], [size], a.out / data.stem, own, list(range(a.seeds)))
                cells = [name, rows[0]["parameters"], size]
                for key, factor, digits in COLUMNS:
                    cells.append(span([factor * row[key] for row in rows], digits))
                print("|", " | ".join(str(cell) for cell in cells), "|", flush=True)


if __name__ == "__main__":
    main()
