"""Energies of tetrahedral silicon polytypes on a surrogate: which of them is the lowest.

    OMP_NUM_THREADS=1 python benchmarks/search/silicon_polytypes/run.py [--reference chgnet]

Each polytype is a stacking of double layers along the hexagonal axis and is relaxed until forces are below 1e-3 eV/Å and stresses below
0.01 GPa. Polytypes that are in result.json are not relaxed again.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

import nucleate
from nucleate.benchmark.result_file import ResultFile

POLYTYPES = {"3C (diamond)": "ABC", "2H (lonsdaleite)": "AB", "4H": "ABCB", "6H": "ABCACB", "9R": "ABCBCACAB"}
BOND = 2.36
"""Initial Si-Si distance in Å."""


def stacked(sequence: str) -> Atoms:
    """Return silicon with this stacking of double layers, in a hexagonal cell of two atoms per layer."""
    a, height = BOND * np.sqrt(8 / 3), 4 * BOND / 3
    places = {"A": (0.0, 0.0), "B": (1 / 3, 2 / 3), "C": (2 / 3, 1 / 3)}
    scaled = []
    for k, layer in enumerate(sequence):
        following = sequence[(k + 1) % len(sequence)]
        # The upper atom of a double layer bonds to the atom above it in the same place of the next double layer.
        scaled.append((*places[layer], k / len(sequence)))
        scaled.append((*places[following], (k + 0.25) / len(sequence)))
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(3) / 2, 0], [0, 0, height * len(sequence)]]
    return Atoms("Si" * len(scaled), cell=cell, scaled_positions=scaled, pbc=True)


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    rows = sorted(data["rows"], key=lambda row: row["energy"])
    diamond = next(row["energy"] for row in rows if row["polytype"].startswith("3C"))
    lines = ["| polytype | space group | atoms | energy above diamond, meV/atom |", "|---|---|---|---|"]
    lines += [f"| {r['polytype']} | {r['space_group']} | {r['atoms']} | {1e3 * (r['energy'] - diamond):+.2f} |" for r in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "fmax": 1e-3, "smax": 0.01}, ("chgnet", "sevenn"))
    with tempfile.TemporaryDirectory() as folder:
        for name, sequence in POLYTYPES.items():
            if result.find(polytype=name) is not None:
                continue
            start = Path(folder) / f"{sequence}.extxyz"
            write(start, stacked(sequence))
            (end,) = nucleate.relax_file(start, reference=a.reference, fmax=1e-3, smax=0.01, workers=0).structures
            if end.stop != "converged":
                raise SystemExit(f"{name}: {end.stop}")
            result.add(polytype=name, space_group=end.space_group, atoms=2 * len(sequence), energy=end.energy, steps=end.steps)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
