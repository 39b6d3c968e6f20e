"""Aluminium and lithium on the fcc and bcc lattices: cluster expansions of energies of CHGNet (a surrogate), and their ground states.

    OMP_NUM_THREADS=1 python benchmarks/lattice/alloys/run.py --out FOLDER

All arrangements of up to five cells are relaxed with their cell. The interactions are fitted to those of up to four cells, and tested on
those of five, which took no part. Finished calculations are in the ledgers in FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.fingerprints.matching import space_group
from nucleate.lattice import api
from nucleate.lattice.labels import LatticeData

PARENTS = {"fcc": 4.04, "bcc": 3.24}
CUTOFFS = {"fcc": [5.8, 4.1], "bcc": [5.4, 4.7]}
METHODS = ("least-squares", "ridge", "ard")
CELLS = 5


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    lines = [
        "| parent | arrangements | on the lattice | method | parameters | leave-one-out | nested | five cells | linear in composition |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in data["rows"]:
        for method, e in r["errors"].items():
            lines.append(
                f"| {r['parent']} | {r['arrangements']} | {r['on_lattice']} | {method} | {e['parameters']} | {1e3 * e['loo']:.1f} | "
                f"{1e3 * e['nested']:.1f} | {1e3 * e['held_out']:.1f} | {1e3 * r['constant']:.0f} |"
            )
    lines += ["", "| parent | Al : Li | space group | energy above the hull of both parents, meV/atom |", "|---|---|---|---|"]
    for r in data["rows"]:
        lines += [f"| {r['parent']} | {s['ratio']} | {s['group']} | {1e3 * s['above']:.0f} |" for s in r["states"]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    settings = {"reference": {"engine": "chgnet"}, "lattice": {"relax": "cell", "max_steps": 200}}
    result = ResultFile(a.result, {**settings, "cutoffs": CUTOFFS, "cells": CELLS}, ("chgnet",))
    data: dict[str, LatticeData] = {}
    for name, constant in PARENTS.items():
        atoms = bulk("Al", name, a=constant)
        data[name] = api.compute(api.enumerate_lattice(atoms, ["Al=Al,Li"], CELLS), settings, out=a.out / name, workers=0)
    every = [entry for each in data.values() for entry in each.on_lattice]
    fractions = api.shares([entry.arrangement for entry in every])
    energies = np.concatenate([LatticeData(each.parent, each.on_lattice).energies() for each in data.values()])
    above = api.lower_hull(fractions, energies).above
    start = 0
    for name, each in data.items():
        used = each.on_lattice
        here = above[start : start + len(used)]
        start += len(used)
        if result.find(parent=name) is not None:
            continue
        sizes = np.array([entry.arrangement.supercell.count for entry in used])
        small = LatticeData(each.parent, [entry for entry, n in zip(used, sizes, strict=True) if n < CELLS])
        large = LatticeData(each.parent, [entry for entry, n in zip(used, sizes, strict=True) if n == CELLS])
        errors = {}
        for method in METHODS:
            model = api.fit(small, CUTOFFS[name], method=method)
            difference = model.predict([entry.arrangement for entry in large.labelled]) - large.energies()
            errors[method] = {
                "parameters": model.facts["parameters"], "loo": model.facts["loo"], "nested": model.facts["nested"],
                "held_out": float(np.sqrt(np.mean(difference**2))),
            }  # fmt: skip
        # A baseline: a linear function of composition.
        x = api.shares([entry.arrangement for entry in small.labelled])
        line = api.shares([entry.arrangement for entry in large.labelled]) @ np.linalg.lstsq(x, small.energies(), rcond=None)[0]
        baseline = float(np.sqrt(np.mean((line - large.energies()) ** 2)))
        states = []
        for ratio, share in (("3 : 1", 0.75), ("1 : 1", 0.5), ("1 : 3", 0.25)):
            matching = [k for k, entry in enumerate(used) if abs(entry.arrangement.fractions()["Al"] - share) < 1e-9]
            lowest = min(matching, key=lambda k: here[k])
            arrangement = used[lowest].arrangement
            group = space_group(arrangement.supercell.atoms(arrangement.occupation))
            states.append({"ratio": ratio, "group": f"{group[0]} ({group[1]})", "above": float(here[lowest])})
        result.add(parent=name, arrangements=len(each.labelled), on_lattice=len(used), errors=errors, constant=baseline, states=states)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
