"""Structures with imaginary modes, and the structures of lower energy to which the modes lead, on a surrogate.

    OMP_NUM_THREADS=1 python benchmarks/stability/downhill/run.py [--reference chgnet]

Each structure is checked with its default settings except the length of the supercell, and so is the lowest lead that is found.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.polymorphs.check import check
from nucleate.polymorphs.stability.results import formula_of
from nucleate.polymorphs.stability.settings import CheckSettings

SETTINGS = CheckSettings(elastic=False, length=7.5)


def perovskite(large: str, small: str, a: float) -> Atoms:
    """Return a cubic perovskite oxide."""
    places = [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    return Atoms(f"{large}{small}O3", cell=[a, a, a], scaled_positions=places, pbc=True)


STRUCTURES = {
    "face-centred cubic silicon": bulk("Si", "fcc", a=3.87),
    "cubic SrTiO3": perovskite("Sr", "Ti", 3.95),
    "cubic CaTiO3": perovskite("Ca", "Ti", 3.89),
}


def checked(atoms: Atoms, reference: str, folder: Path) -> Any:
    """Return the checked structure and the number of calls."""
    start = folder / "start.extxyz"
    ase.io.write(start, atoms)
    result = check(start, SETTINGS, reference=reference, workers=0, out=folder / "check")
    return result.polymorphs[0], result.calls


def row_of(name: str, reference: str) -> dict[str, Any]:
    """Return a row: the lowest modes of a structure, its lowest lead, and the lowest mode of that lead."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        parent, calls = checked(STRUCTURES[name], reference, Path(one))
        modes = [[np.round(mode.point, 4).tolist(), round(mode.frequency, 3), len(mode.bands)] for mode in parent.phonons.imaginary]
        row: dict[str, Any] = {
            "structure": name, "group": parent.prepared.space_group, "calls": calls,
            "modes": modes, "lead": None,
        }  # fmt: skip
        if parent.leads:
            lead, _ = parent.leads[0]
            row |= {"lead": lead.space_group, "lead_formula": formula_of(lead.atoms), "gain": round(1e3 * lead.gain, 2)}
            end, _ = checked(lead.atoms, reference, Path(two))
            row |= {"lead_verdict": end.verdict, "lead_group": end.prepared.space_group}
            row["lead_modes"] = [round(mode.frequency, 3) for mode in end.phonons.imaginary]
        return row


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    head = ["structure", "imaginary modes: q, THz, degeneracy", "lowest lead", "lower by, meV/atom", "check of the lead"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in data["rows"]:
        modes = "; ".join(f"({' '.join(f'{x:g}' for x in q)}) {frequency:.2f} x{count}" for q, frequency, count in row["modes"][:3])
        more = "" if len(row["modes"]) <= 3 else f"; and {len(row['modes']) - 3} more"
        if row["lead"] is None:
            lines.append(f"| {row['structure']}, {row['group']} | {modes or 'none'}{more} | none | | |")
        else:
            lead = f"{row['lead_formula']} {row['lead_group']}"
            lines.append(f"| {row['structure']}, {row['group']} | {modes}{more} | {lead} | {row['gain']:.1f} | {row['lead_verdict']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="chgnet")
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    result = ResultFile(a.result, {"reference": a.reference, "check": SETTINGS.model_dump(mode="json")}, ("chgnet", "sevenn", "phonopy"))
    for name in STRUCTURES:
        if result.find(structure=name) is None:
            result.add(**row_of(name, a.reference))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
