"""Errors of the electrons on groups of snapshots that were left out: a temperature, a volume, a phase, a size of the cell.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py
    OMP_NUM_THREADS=1 python benchmarks/electrons/groups/run.py --seeds 3

For each group the model is trained on all snapshots of 16 atoms outside the group, and tested on those of the group; every folder of
snapshots has a seed of its own. Beside it, a committee of many-body potentials is trained on the free energies, forces and stresses of the
same snapshots. Settings: settings.toml beside this file. `--arm` gives the last layer another fit; the default arm is in the table. A
finished group and seed is kept, and a stopped run resumes.
"""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

from nucleate.benchmark.result_file import ResultFile
from nucleate.benchmark.statistics import span
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.model.evaluation import errors_on
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.errors import BadInput
from nucleate.potentials.calculator import NucleateCalculator
from nucleate.training.run import fit

TEMPERATURES, VOLUMES = (300, 500, 700, 933), ("165", "170", "176")
SOLID = [f"al-{temperature}K-v{volume}" for volume in VOLUMES for temperature in TEMPERATURES]
MELT = ["al-liquid-v180-1", "al-liquid-v180-2", "al-liquid-v189-1", "al-liquid-v189-2"]
LARGE = ["al-32-933K-v176", "al-32-liquid-v189"]
GROUPS: dict[str, tuple[str, list[str]]] = {
    **{
        f"{temperature} K, solid": ("inside" if temperature in (500, 700) else "outermost", [f for f in SOLID if f"-{temperature}K-" in f])
        for temperature in TEMPERATURES
    },
    **{
        f"{int(volume) / 10:g} Å³/atom, solid": ("inside" if volume == "170" else "outermost", [f for f in SOLID if f.endswith(volume)])
        for volume in VOLUMES
    },
    "18.0 Å³/atom, melt": ("inside", MELT[:2]),
    "18.9 Å³/atom, melt": ("outermost", MELT[2:]),
    "solid": ("phase", SOLID),
    "melt": ("phase", MELT),
    "32 atoms": ("size", LARGE),
    "17 Å³/atom, solid, from 16.5": ("outermost", [f for f in SOLID if f.endswith("170")]),
}
TRAINED_ON = {"17 Å³/atom, solid, from 16.5": [f for f in SOLID if f.endswith("165")]}
"""Training data of groups for which they are not all folders of 16 atoms outside the group."""
ARMS: dict[str, dict[str, Any]] = {
    "default": {},
    "ridge": {"ridge": 1e-4, "dos_weight": 0.0},
    "potential": {"zero": "potential"},
    "short": {"steps": 1500},
}
POTENTIAL = {"model": "manybody", "steps": 2000, "validation": 0.0}


def labelled(folder: Path) -> list[Atoms]:
    """Return the snapshots of a folder with free energy, forces and stress."""
    made = []
    for path in snapshot_paths(folder):
        snapshot = read_snapshot(path, ldos=False)
        atoms = snapshot.atoms.copy()
        stress = snapshot.stress
        if stress is None:
            raise BadInput(f"{path}: an earlier version sampled it, with the stress at a fixed number of plane waves; sample it again")
        six = stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        atoms.calc = SinglePointCalculator(atoms, energy=snapshot.terms["free"], forces=snapshot.forces, stress=six)
        made.append(atoms)
    return made


def potential_errors(model: Path, folder: Path) -> dict[str, float]:
    """Return the errors of a committee of potentials: free energy (meV/atom), forces (meV/Å), pressure (GPa)."""
    calculator = NucleateCalculator(model)
    energy, forces, pressure, spread = [], [], [], []
    for atoms in labelled(folder):
        known = atoms.calc
        own = atoms.copy()
        own.calc = calculator
        energy.append(1e3 * (own.get_potential_energy() - known.results["energy"]) / len(atoms))
        forces.append(1e3 * np.sqrt(((own.get_forces() - known.results["forces"]) ** 2).mean()))
        pressure.append(-(own.get_stress()[:3] - known.results["stress"][:3]).mean() / GPa)
        spread.append(1e3 * calculator.results["sigma"])
    return {
        "potential_free": mean(energy), "potential_free_rms": rms(energy), "potential_forces": rms(forces),
        "potential_pressure": rms(pressure), "potential_spread": mean(spread),
    }  # fmt: skip


def mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 4)


def rms(values: list[float]) -> float:
    return round(float(np.sqrt(np.mean(np.square(values)))), 4)


def trained(data: Path, group: str, seed: int, arm: str, out: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Train both models without a group; return one row of errors for each of its folders."""
    every = TRAINED_ON.get(group, SOLID + MELT)
    kept = [folder for folder in every if folder not in GROUPS[group][1] and (data / folder).is_dir()]
    own = ElectronTraining.model_validate({**settings, **ARMS[arm], "validation": 0.0, "seed": seed})
    place = out / f"{group.replace('/', '-').replace(' ', '_')}-{arm}-{seed}"
    model, _ = train([data / folder for folder in kept], place, own)
    if arm == "default":
        file = place / "snapshots.extxyz"
        ase.io.write(file, [atoms for folder in kept for atoms in labelled(data / folder)])
        potential = fit(file, place / "potential", {**POTENTIAL, "seed": seed})
    rows, trained_on = [], sum(len(snapshot_paths(data / folder)) for folder in kept)
    for folder in [folder for folder in GROUPS[group][1] if (data / folder).is_dir()]:
        found = [errors_on(model, read_snapshot(path), forces=True) for path in snapshot_paths(data / folder)]
        free = [each.free for each in found]
        row: dict[str, Any] = {
            "folder": folder, "snapshots": len(found), "density": rms([e.density for e in found]), "dos": rms([e.dos for e in found]),
            "band": mean([e.band for e in found]), "band_rms": rms([e.band for e in found]), "free": mean(free), "free_rms": rms(free),
            "spread": mean([e.sigma_band for e in found]), "forces": rms([e.forces for e in found]),
            "pressure": rms([e.pressure for e in found]), "cpu": round(model.facts["cpu_seconds"]), "trained_on": trained_on,
        }  # fmt: skip
        rows.append(row if arm != "default" else {**row, **potential_errors(potential, data / folder)})
    return rows


COLUMNS = (
    "left out", "", "zero of energy", "seeds", "trained on", "snapshots", "density, %", "band energy, meV/atom: mean; rms",
    "free energy: mean; rms", "spread", "forces, meV/Å", "pressure, GPa", "potential: free energy: mean; rms", "forces", "pressure",
    "spread",
)  # fmt: skip


def table(data: dict[str, Any]) -> str:
    """Return the table of the results page."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    for group, (where, _) in GROUPS.items():
        for arm, zero in (("default", "free electrons"), ("potential", "average potential")):
            mine = [row for row in data["rows"] if row["kind"] == "errors" and row["group"] == group and row["arm"] == arm]
            if not mine:
                continue
            seeds = sorted({row["seed"] for row in mine})
            per_seed = [[row for row in mine if row["seed"] == seed] for seed in seeds]
            counts = per_seed[0][0]["trained_on"], sum(row["snapshots"] for row in per_seed[0])
            cells = [group, where, zero, str(len(seeds)), *map(str, counts), *_cells(per_seed, "")]
            cells += _cells(per_seed, "potential_") if arm == "default" else [""] * 4
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cells(per_seed: list[list[dict[str, Any]]], prefix: str) -> list[str]:
    """Return the cells of one kind of model: lowest and highest value over the seeds."""

    def over_seeds(key: str, squared: bool = True, digits: int = 0) -> str:
        values = []
        for part in per_seed:
            weights, numbers = [row["snapshots"] for row in part], np.array([row[prefix + key] for row in part])
            mean = np.average(numbers**2 if squared else numbers, weights=weights)
            values.append(float(np.sqrt(mean) if squared else mean))
        return span(values, digits)

    free = f"{over_seeds('free', squared=False)}; {over_seeds('free_rms')}"
    rest = [over_seeds("spread", squared=False), over_seeds("forces"), over_seeds("pressure", digits=2)]
    if prefix:
        return [free, rest[1], rest[2], rest[0]]
    return [over_seeds("density", digits=2), f"{over_seeds('band', squared=False)}; {over_seeds('band_rms')}", free, *rest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["default"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/models"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    a = parser.parse_args()
    with Path(__file__).with_name("settings.toml").open("rb") as file:
        settings = tomllib.load(file)
    result = ResultFile(a.result, {"training": settings, "potential": POTENTIAL}, ("gpaw",))
    for seed in range(a.seeds):
        for arm in a.arms:
            for group in a.groups:
                if result.find(kind="errors", group=group, seed=seed, arm=arm) is not None:
                    continue
                for row in trained(a.data, group, seed, arm, a.out, settings):
                    result.add(kind="errors", group=group, seed=seed, arm=arm, **row)
                    print(group, seed, arm, row, flush=True)
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
