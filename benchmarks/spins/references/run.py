"""Ordering temperatures of ferromagnets from couplings of several reference states.

    OMP_NUM_THREADS=1 python benchmarks/spins/references/run.py --out FOLDER

For each crystal one state of GPAW (PBE, 500 eV, Fermi-Dirac smearing of 0.1 eV) gives the couplings of small rotations of exchange fields
(Liechtenstein), of small rotations of moments (exact static response), and of conical spirals with several angles. Each set of couplings
gives mean-field and RPA temperatures and the spin stiffness without a cutoff, and the crossing of Binder's cumulants of two sizes in
Monte Carlo simulations with the pairs up to a cutoff. The last spiral of a crystal has the angle of neighbours at the temperature of
Monte Carlo with the couplings of small rotations: cos^2 of it is the energy at the crossing relative to that of the ordered state.
FOLDER keeps the states, and a stopped run goes on.
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
from nucleate.errors import NucleateError
from nucleate.spins import api
from nucleate.spins.couplings import Couplings

HERE = Path(__file__).resolve().parent


def heusler() -> Atoms:
    cell = 5.654 / 2 * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])
    return Atoms("Co2MnSi", scaled_positions=[[0.25] * 3, [0.75] * 3, [0.5] * 3, [0] * 3], cell=cell, pbc=True)


CRYSTALS: dict[str, dict[str, Any]] = {
    "bcc Fe": {"atoms": bulk("Fe", "bcc", a=2.866), "moments": {"Fe": 2.2}, "mesh": [20, 20, 20], "cutoff": 12.0, "sizes": [8, 12]},
    "fcc Ni": {"atoms": bulk("Ni", "fcc", a=3.524), "moments": {"Ni": 0.7}, "mesh": [20, 20, 20], "cutoff": 12.0, "sizes": [8, 12]},
    "fcc Co": {"atoms": bulk("Co", "fcc", a=3.544), "moments": {"Co": 1.7}, "mesh": [20, 20, 20], "cutoff": 12.0, "sizes": [8, 12]},
    "hcp Co": {"atoms": bulk("Co", "hcp", a=2.507, c=4.069), "moments": {"Co": 1.7}, "mesh": [18, 18, 10], "cutoff": 10.0, "sizes": [6, 9]},
    "Co2MnSi": {"atoms": heusler(), "moments": {"Co": 1.0, "Mn": 3.0}, "mesh": [14, 14, 14], "cutoff": 8.0, "sizes": [6, 9]},
}
"""Experimental lattices; the mesh of k-points, the largest distance of pairs in the simulation in Å, and its sizes in cells."""
ANGLES = (30.0, 60.0, 90.0)
MEASUREMENTS = 512
SETTINGS = {"xc": "PBE", "cutoff": 500, "k_spacing": 0.22, "smearing": 0.1, "bands": 3.0, "measurements": MEASUREMENTS}


def references(name: str) -> dict[str, dict[str, Any]]:
    """Return the options of each reference of a crystal; spirals are for one site in the cell."""
    found: dict[str, dict[str, Any]] = {"fields": {}, "moments": {"renormalised": True}}
    if len(CRYSTALS[name]["atoms"]) == 1:
        found |= {f"cone {angle:g}": {"cone_angle": angle} for angle in ANGLES}
    return found


def monte_carlo(couplings: Couplings, sizes: list[int], mean_field: float) -> dict[str, Any]:
    """Return crossing, its error in K and the energy there relative to that of the ordered state; None without a crossing."""
    temperatures = (mean_field * np.linspace(0.6, 0.88, 9)).tolist()
    result = api.simulate(couplings, temperatures=temperatures, sizes=sizes, measurements=MEASUREMENTS, seed=0)
    if not result.crossings:
        return {"crossing": None, "error": None, "neighbours": None}
    met = result.crossings[0]
    ordered = couplings.energy(np.tile([0.0, 0.0, 1.0], (len(couplings.positions), 1))) / len(couplings.positions)
    large = sorted((row.temperature, row.energy) for row in result.rows if row.size == max(sizes))
    energy = float(np.interp(met.temperature, *zip(*large, strict=True)))
    return {"crossing": met.temperature, "error": met.error, "neighbours": energy / ordered}


def measure(result: ResultFile, name: str, reference: str, options: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the row of a reference, measured unless it is there."""
    known = result.find(crystal=name, reference=reference)
    if known is not None:
        return known
    crystal = CRYSTALS[name]
    settings = {
        "reference": {key: SETTINGS[key] for key in ("xc", "cutoff", "k_spacing", "smearing")},
        "liechtenstein": {"mesh": crystal["mesh"], "bands": SETTINGS["bands"]},
    }
    started = time.process_time()
    out = folder / name.replace(" ", "-")
    found = api.couple(
        crystal["atoms"].copy(), out, crystal["moments"], method="liechtenstein", cutoff=crystal["cutoff"], settings=settings, **options
    )
    coupled = time.process_time()
    order = found.facts["order"]
    try:
        estimate = api.estimate(found.couplings)
        simulated = monte_carlo(found.couplings, crystal["sizes"], estimate.mean_field)
        pairs = {"pairs_mean_field": estimate.mean_field, "pairs_rpa": estimate.rpa}
    except NucleateError as error:
        simulated, pairs = {"crossing": None, "error": None, "neighbours": None}, {"failure": str(error)}
    distances = found.couplings.distances.round(3)
    nearest = [float(found.couplings.isotropic[distances == d].mean()) for d in np.unique(distances)[:2]]
    stiffness = None if order["stiffness"] is None else float(np.trace(order["stiffness"])) / 3
    result.add(
        crystal=name, reference=reference, moments=found.facts["moments"], balance=found.facts["balance"], nearest=nearest,
        mean_field=order["mean_field"], rpa=order["rpa"], stiffness=stiffness, unstable=order["unstable"], **pairs, **simulated,
        couplings_seconds=round(coupled - started, 1), simulation_seconds=round(time.process_time() - coupled, 1),
    )  # fmt: skip
    row = result.find(crystal=name, reference=reference)
    assert row is not None
    print(table({"rows": [row]}).splitlines()[-1], flush=True)
    return row


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = [
        "| crystal | couplings of | moments, Bohr magnetons | nearest J, meV | stiffness, meV Å² "
        "| mean field, K | RPA, K | Monte Carlo, K |",
        "|" + "---|" * 8,
    ]
    for row in data["rows"]:
        moments = ", ".join(f"{x:.2f}" for x in row["moments"])
        nearest = ", ".join(f"{x:.2f}" for x in row["nearest"])
        stiffness, mean, rpa = ("" if row[key] is None else f"{row[key]:.0f}" for key in ("stiffness", "mean_field", "rpa"))
        crossing = "" if row["crossing"] is None else f"{row['crossing']:.0f} ± {row['error']:.0f}"
        if row["unstable"] is not None:
            crossing = f"{crossing} (unstable)"
        lines.append(f"| {row['crystal']} | {row['reference']} | {moments} | {nearest} | {stiffness} | {mean} | {rpa} | {crossing} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystals", nargs="+", choices=list(CRYSTALS), default=list(CRYSTALS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--result", type=Path, default=HERE / "result.json")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    result = ResultFile(a.result, SETTINGS, ("gpaw", "numba"))
    print("\n".join(table({"rows": []}).splitlines()), flush=True)
    for name in a.crystals:
        rows = {reference: measure(result, name, reference, options, a.out) for reference, options in references(name).items()}
        share = rows["fields"]["neighbours"]
        if len(CRYSTALS[name]["atoms"]) == 1 and share is not None:
            angle = float(np.rad2deg(np.arccos(np.sqrt(share))))
            measure(result, name, f"cone {angle:.0f}, neighbours", {"cone_angle": angle}, a.out)


if __name__ == "__main__":
    main()
