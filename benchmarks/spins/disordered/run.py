"""Couplings of iron from states with disordered moments: collinear special quasi-random cells, averaged shell by shell.

    OMP_NUM_THREADS=1 python benchmarks/spins/disordered/run.py --out FOLDER

The cells have 16 atoms of bcc iron, half of the moments up and half down, arranged so that the correlations of the first four shells are
small, as in a paramagnet (A. Zunger et al., Phys. Rev. Lett. 65, 353 (1990), doi 10.1103/PhysRevLett.65.353). Each is one state of GPAW;
its couplings (Liechtenstein's formula) are averaged over all pairs of a shell, and over those with parallel and with antiparallel moments.
The averages of all cells, on the primitive lattice, give temperatures in mean field, RPA and Monte Carlo. FOLDER keeps the states, and a
stopped run goes on.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from nucleate.benchmark.result_file import ResultFile
from nucleate.spins import api
from nucleate.spins.geometry import pairs_within

HERE = Path(__file__).resolve().parent
SIDE, MOMENT = 2.866, 2.2
SHELLS = 6
"""Number of shells whose couplings are averaged; the last one is at 5.7 Å, where the images of the cell begin."""
SETTINGS = {
    "xc": "PBE", "cutoff": 500, "k_spacing": 0.22, "smearing": 0.1, "bands": 1.5, "mesh": [4, 4, 4], "pairs": 5.8, "measurements": 512,
}  # fmt: skip


def shell_of(distances: np.ndarray) -> np.ndarray:
    """Return the number of the shell of each distance, from 0."""
    return np.searchsorted(np.array([0.5 * 3**0.5, 1, 2**0.5, 0.5 * 11**0.5, 3**0.5, 2]) * SIDE + 0.05, distances)


def quasi_random(count: int, draws: int = 20_000) -> list[tuple[Atoms, np.ndarray]]:
    """Return cells with the smallest correlations of the first four shells, and these; cells with equal correlations are one."""
    atoms = bulk("Fe", "bcc", a=SIDE, cubic=True) * (2, 2, 2)
    first, second, shifts = pairs_within(atoms, np.arange(len(atoms)), 1.7 * SIDE)
    vectors = atoms.positions[second] - atoms.positions[first] + shifts @ atoms.cell.array
    shell = shell_of(np.linalg.norm(vectors, axis=1))
    rng = np.random.default_rng(0)
    signs = np.where(rng.permuted(np.tile(np.arange(len(atoms)) % 2, (draws, 1)), axis=1), 1.0, -1.0)
    products = signs[:, first] * signs[:, second]
    found = np.stack([products[:, shell == k].mean(axis=1) for k in range(4)], axis=1)
    order = np.argsort((found**2 / np.arange(1, 5)).sum(axis=1), kind="stable")
    chosen: dict[tuple[float, ...], int] = {}
    for k in order:
        chosen.setdefault(tuple(found[k].round(6)), int(k))
        if len(chosen) == count:
            break
    cells = []
    for k in chosen.values():
        cell = atoms.copy()
        cell.set_initial_magnetic_moments(MOMENT * signs[k])
        cells.append((cell, found[k]))
    return cells


def state(cell: Atoms, folder: Path) -> dict[str, Any]:
    """Return moments and averaged couplings of a cell."""
    settings = {
        "reference": {key: SETTINGS[key] for key in ("xc", "cutoff", "k_spacing", "smearing")},
        "liechtenstein": {"mesh": SETTINGS["mesh"], "bands": SETTINGS["bands"]},
    }
    began = time.process_time()
    found = api.couple(cell.copy(), folder, {"Fe": MOMENT}, method="liechtenstein", cutoff=SETTINGS["pairs"], settings=settings)
    known = found.couplings
    shell = shell_of(known.distances)
    alike = np.sign(np.array(found.facts["moments"]))[np.stack([known.first, known.second])].prod(axis=0) > 0
    shells = [
        [None if not (mask := (shell == k) & which).any() else round(float(known.isotropic[mask].mean()), 4) for k in range(SHELLS)]
        for which in (np.ones(len(shell), bool), alike, ~alike)
    ]
    return {
        "moments": [round(float(x), 3) for x in found.facts["moments"]], "balance": found.facts["balance"], "all": shells[0],
        "parallel": shells[1], "antiparallel": shells[2], "seconds": round(time.process_time() - began),
    }  # fmt: skip


def temperatures(strengths: list[float]) -> dict[str, Any]:
    """Return the ordering temperatures in K of couplings by shell on the primitive lattice."""
    couplings = api.assign_shells(bulk("Fe", "bcc", a=SIDE), {"Fe": MOMENT}, strengths)
    estimate = api.estimate(couplings)
    grid = (estimate.mean_field * np.linspace(0.6, 0.88, 9)).tolist()
    crossings = api.simulate(couplings, temperatures=grid, sizes=[8, 12], measurements=SETTINGS["measurements"], seed=0).crossings
    met = crossings[0] if crossings else None
    return {
        "mean_field": estimate.mean_field, "rpa": estimate.rpa, "crossing": met and met.temperature, "error": met and met.error,
    }  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| cell | moments, Bohr magnetons | J1: all, parallel, antiparallel, meV | J2 | J3 | mean field, K | RPA, K | Monte Carlo, K "
        "| CPU-min |",
        "|" + "---|" * 9,
    ]
    for row in data["rows"]:
        cells = [row["cell"]]
        if row["cell"] == "mean":
            cells += [
                "",
                *(f"{row['all'][k]:.2f}" for k in range(3)),
                f"{row['mean_field']:.0f}",
                "" if row["rpa"] is None else f"{row['rpa']:.0f}",
            ]
            cells += ["" if row["crossing"] is None else f"{row['crossing']:.0f} ± {row['error']:.0f}", ""]
        else:
            sizes = np.abs(row["moments"])
            shown = [[row[key][k] for key in ("all", "parallel", "antiparallel")] for k in range(3)]
            cells += [f"{sizes.min():.2f} to {sizes.max():.2f}"]
            cells += [", ".join("" if x is None else f"{x:.2f}" for x in each) for each in shown]
            cells += ["", "", "", f"{row['seconds'] / 60:.0f}"]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Calculate all cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cells", type=int, default=3)
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    result = ResultFile(a.result, SETTINGS, ("gpaw", "numba"))
    for number, (cell, correlations) in enumerate(quasi_random(a.cells)):
        if not result.find(cell=number):
            result.add(cell=number, correlations=correlations.round(4).tolist(), **state(cell, a.out / f"cell-{number}"))
    if not result.find(cell="mean"):
        mean = np.mean([row["all"] for row in result.rows], axis=0).round(4).tolist()
        result.add(cell="mean", all=mean, **temperatures(mean))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
