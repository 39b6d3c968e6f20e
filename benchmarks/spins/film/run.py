"""Textures of a layer of cobalt on platinum from first principles: couplings of one state of GPAW, lowest states and skyrmions in fields.

    OMP_NUM_THREADS=1 python benchmarks/spins/film/run.py --out FOLDER [--meshes 18 24]

The sheets are those of benchmarks/spins/bilayer. `nucleate spins couple --spin-orbit` gives exchange, Dzyaloshinskii-Moriya vectors,
symmetric anisotropic exchange and the on-site anisotropy that the force theorem leaves; `nucleate spins textures` adds the dipole-dipole
interaction, relaxes uniform states, spirals and random states in each field, and looks for skyrmions. FOLDER keeps the states and
couplings, and a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.spins.files.reading import read_couplings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from bilayer.run import SIDE, sheet  # noqa: E402

SETTINGS = {"xc": "LDA", "cutoff": 350, "smearing": 0.1, "bands": 1.5, "pairs": 12.0}
TABLE = """
[reference]
xc = "LDA"
cutoff = 350
smearing = 0.1
k_spacing = 0.25

[liechtenstein]
mesh = [{mesh}, {mesh}, 1]
bands = 1.5
"""


def command(*words: str) -> dict[str, Any]:
    """Return the JSON output of a command of nucleate."""
    run = subprocess.run([sys.executable, "-m", "nucleate", *words, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def film(name: str, mesh: int, size: int, fields: str, out: Path) -> dict[str, Any]:
    """Return couplings and textures of a sheet."""
    folder = out / f"{name}-{mesh}"
    folder.mkdir(parents=True, exist_ok=True)
    sheet(name == "Pt-Co-Pt").write(folder / "sheet.extxyz")
    (folder / "settings.toml").write_text(TABLE.format(mesh=mesh))
    began = time.perf_counter()
    where = ["--moment", "Co=1.8", "--method", "liechtenstein", "--spin-orbit", "--cutoff", str(SETTINGS["pairs"]), "--out", str(folder)]
    couple = command(
        "spins", "couple", str(folder / "sheet.extxyz"), *where, "--settings", str(folder / "settings.toml"), "--out", str(folder)
    )
    coupled = time.perf_counter()
    known = read_couplings(folder / "couplings.csv")
    near = np.flatnonzero(known.distances < 1.01 * SIDE)
    across = np.cross([0, 0, 1], known.vectors[near] / SIDE)
    found = command("spins", "textures", str(folder / "couplings.csv"), "--size", str(size), str(size), "--fields", fields)
    ended = time.perf_counter()
    states = [
        {key: each[key] for key in ("field", "lowest", "wave_vector", "tilt", "lowest_energy", "converged")}
        | {"skyrmion": None if each["skyrmion"] is None else {k: each["skyrmion"][k] for k in ("energy", "charge", "radius", "barrier")}}
        for each in found["fields"]
    ]
    return {
        "moment": round(float(np.max(np.abs(couple["moments"]))), 3), "anisotropy": couple.get("anisotropy"),
        "j": round(float(known.isotropic[near].mean()), 3), "d": round(float(np.mean(np.sum(known.dm[near] * across, axis=1))), 3),
        "seconds_coupling": round(coupled - began), "seconds_textures": round(ended - coupled), "states": states,
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| sheet | k-points | J1, D1 across, meV | field, T | lowest state | its energy, meV/cell | skyrmion: charge | radius, Å "
        "| energy, meV | barrier, meV |",
        "|" + "---|" * 10,
    ]
    for row in data["rows"]:
        for state in row["states"]:
            skyrmion = state["skyrmion"]
            lowest = state["lowest"] + ("" if any(state["wave_vector"]) else f", {state['tilt']:.0f}° from the normal")
            shown = ["none", "", "", ""]
            if skyrmion is not None:
                barrier = "" if skyrmion["barrier"] is None else f"{skyrmion['barrier']:.2f}"
                shown = [f"{skyrmion['charge']:.0f}", f"{skyrmion['radius']:.1f}", f"{skyrmion['energy']:.1f}", barrier]
            cells = [row["sheet"], f"{row['mesh']} x {row['mesh']}", f"{row['j']:.1f}, {row['d']:+.2f}", f"{state['field']:g}", lowest]
            lines.append(f"| {' | '.join(cells)} | {state['lowest_energy']:.4f} | {' | '.join(shown)} |")
    return "\n".join(lines)


def main() -> None:
    """Calculate all sheets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheets", nargs="+", choices=("Pt-Co", "Pt-Co-Pt"), default=["Pt-Co", "Pt-Co-Pt"])
    parser.add_argument("--meshes", type=int, nargs="+", default=[18, 24])
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--fields", default="0:10:2")
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    result = ResultFile(a.result, SETTINGS, ("gpaw", "numba"))
    for mesh in a.meshes:
        for name in a.sheets:
            if not result.find(sheet=name, mesh=mesh, size=a.size):
                result.add(sheet=name, mesh=mesh, size=a.size, **film(name, mesh, a.size, a.fields, a.out))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
