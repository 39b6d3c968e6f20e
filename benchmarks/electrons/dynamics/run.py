"""Dynamics on the forces of a model of the electrons: energy conservation, and averages beside GPAW's snapshots.

    OMP_NUM_THREADS=1 python benchmarks/data/electrons.py --only al-933K-v165 al-933K-v170 al-933K-v176
    OMP_NUM_THREADS=1 python benchmarks/electrons/dynamics/run.py --data runs/electrons --out runs/electrons/dynamics

Solid aluminium at 933 K and 17.6 Å³/atom. The model is trained on the folders above (settings of benchmarks/electrons/groups). Without a
thermostat (32 atoms): drift of F + kinetic energy, its fluctuation, the net force. With one (Langevin, 16 atoms, after 0.4 ps): pressure,
density of states at the Fermi level and electronic heat capacity C = T dS/dT, beside the averages over GPAW's snapshots, whose structures
are those of a dynamics with EMT. A stopped run resumes at its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
import tomllib
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms, units
from ase.constraints import FixCom
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet

from nucleate.benchmark.result_file import ResultFile
from nucleate.electrons.data.dynamics import DynamicsSettings, starting_cell
from nucleate.electrons.data.store import read_snapshot, snapshot_paths
from nucleate.electrons.levels.heat_capacity import heat_capacity
from nucleate.electrons.levels.smearing import unsmeared_level
from nucleate.electrons.model.calculator import ElectronCalculator
from nucleate.electrons.model.training import ElectronTraining, train
from nucleate.time_series import autocorrelation_time
from nucleate.units import BOLTZMANN

FOLDERS = ["al-933K-v165", "al-933K-v170", "al-933K-v176"]
SAMPLED = "al-933K-v176"
TEMPERATURE, VOLUME = 933.0, 17.6


def electronic(energies: torch.Tensor, dos: torch.Tensor, electrons: float, sigma: float) -> dict[str, float]:
    """Return the density of states at the Fermi level (1/eV) and the electronic heat capacity (k_B), from a density of states."""

    _, weights = unsmeared_level(energies, dos, electrons, sigma, TEMPERATURE)
    return {"states": float(weights.slope @ dos), "heat": heat_capacity(energies, dos, electrons, sigma, TEMPERATURE)}


def gpaw_averages(folder: Path) -> list[dict[str, float]]:
    """Return pressure (GPa), density of states at the Fermi level and heat capacity per atom of each snapshot."""
    rows = []
    for path in snapshot_paths(folder):
        known = read_snapshot(path)
        found = electronic(torch.tensor(known.energies), torch.tensor(known.dos), known.electrons, known.sigma)
        assert known.stress is not None
        pressure = -float(np.trace(known.stress)) / 3 / units.GPa
        rows.append({"pressure": pressure, **{name: value / len(known.atoms) for name, value in found.items()}})
    return rows


class Checkpoint:
    """Structure with velocities and the rows of a dynamics, written every 20 steps."""

    def __init__(self, path: Path, start: Atoms):
        self.structure, self.table = path.with_suffix(".extxyz"), path.with_suffix(".json")
        self.rows: list[dict[str, float]] = []
        self.atoms = start
        if self.table.exists():
            self.rows = json.loads(self.table.read_text())
            read = ase.io.read(self.structure, index=":")
            self.atoms = next(atoms for atoms in read if atoms.info["step"] == len(self.rows))

    def write(self) -> None:
        """Write both files."""
        copy = self.atoms.copy()
        copy.info["step"] = len(self.rows)
        previous = ase.io.read(self.structure, index=":")[-1:] if self.structure.exists() else []
        # The table is written last; until then the structure of the step before it is kept as well.
        ase.io.write(self.structure, [*previous, copy], format="extxyz", write_results=False)
        self.table.write_text(json.dumps(self.rows))


def run(kind: str, model: Path, out: Path, atoms: int, steps: int, step: float, seed: int) -> list[dict[str, float]]:
    """Run or resume a dynamics; return a row for each step."""
    start = starting_cell(DynamicsSettings(material="Al", atoms=atoms, volume=VOLUME))
    rng = np.random.default_rng(seed)
    # Half of the energy of a crystal at rest goes into the displacements.
    MaxwellBoltzmannDistribution(start, temperature_K=2 * TEMPERATURE, rng=rng)
    Stationary(start)
    kept = Checkpoint(out / f"{kind}-{atoms}-{seed}", start)
    now = kept.atoms
    now.calc = ElectronCalculator(model, TEMPERATURE)
    if kind == "NVE":
        dynamics: Any = VelocityVerlet(now, step * units.fs)
    else:
        now.set_constraint(FixCom())
        noise = np.random.default_rng([seed, len(kept.rows)])
        dynamics = Langevin(now, step * units.fs, temperature_K=TEMPERATURE, friction=0.02 / units.fs, fixcm=False, rng=noise)
    while len(kept.rows) < steps:
        began = time.process_time()
        dynamics.run(1)
        forces = now.get_forces(apply_constraint=False)
        row = {
            "potential": now.get_potential_energy(force_consistent=True) / atoms, "kinetic": now.get_kinetic_energy() / atoms,
            "net": float(np.linalg.norm(forces.sum(0))),
        }  # fmt: skip
        if kind == "NVT":
            row["pressure"] = -float(now.get_stress(include_ideal_gas=False)[:3].mean()) / units.GPa
            energies, dos = (torch.tensor(each) for each in now.calc.results["dos"])
            found = electronic(energies, dos, 3.0 * atoms, now.calc.model.sigma)
            row |= {name: value / atoms for name, value in found.items()}
        kept.rows.append({**row, "cpu": time.process_time() - began})
        if len(kept.rows) % 20 == 0 or len(kept.rows) == steps:
            kept.write()
    return kept.rows


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    lines = []
    nve = [row for row in data["rows"] if row["kind"] == "NVE"]
    if nve:
        lines += [
            "| atoms | time step, fs | ps | drift of the energy, meV/atom/ps | its fluctuation, meV/atom | of the potential energy "
            "| temperature, K | net force, meV/Å | CPU-s per step |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r['atoms']} | {r['step']:g} | {r['ps']:.2f} | {r['drift']:+.3f} ± {r['drift_error']:.3f} "
            f"| {r['fluctuation']:.3f} | {r['potential_fluctuation']:.1f} | {r['temperature']:.0f} | {r['net']:.0f} | {r['cpu']:.1f} |"
            for r in nve
        ]
    averages = [row for row in data["rows"] if row["kind"] != "NVE"]
    if averages:
        lines += ["", "| | structures | pressure, GPa | states at the Fermi level, 1/(eV atom) | electronic heat capacity, k_B per atom |",
                  "|---|---|---|---|---|"]  # fmt: skip
        lines += [
            f"| {r['name']} | {r['count']} | " + " | ".join(f"{r[key]:.{d}f} ± {r[key + '_error']:.{d}f}" for key, d in
                                                          (("pressure", 2), ("states", 4), ("heat", 4))) + " |"
            for r in averages
        ]  # fmt: skip
    return "\n".join(lines)


def conserved(rows: list[dict[str, float]], atoms: int, step: float) -> dict[str, Any]:
    """Return the figures of a dynamics without thermostat, its first tenth left out."""
    used = rows[len(rows) // 10 :]
    energy = 1e3 * np.array([row["potential"] + row["kinetic"] for row in used])
    times = np.arange(len(used)) * step / 1e3
    (slope, _), covariance = np.polyfit(times, energy, 1, cov=True)
    rest = energy - np.polyval(np.polyfit(times, energy, 1), times)
    # Fitted errors assume independent values; every 2 tau of them are.
    error = float(np.sqrt(covariance[0, 0] * max(1.0, 2 * autocorrelation_time(rest))))
    kinetic = float(np.mean([row["kinetic"] for row in used]))
    return {
        "kind": "NVE", "atoms": atoms, "step": step, "ps": len(rows) * step / 1e3, "drift": slope, "drift_error": error,
        "fluctuation": float(energy.std()), "potential_fluctuation": 1e3 * float(np.std([row["potential"] for row in used])),
        "temperature": kinetic / (1.5 * (1 - 1 / atoms) * BOLTZMANN), "net": 1e3 * float(np.mean([row["net"] for row in used])),
        "cpu": float(np.mean([row["cpu"] for row in used])),
    }  # fmt: skip


def averaged(name: str, rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return means and standard errors, with the correlation of a dynamics included."""
    found: dict[str, Any] = {"kind": "average", "name": name, "count": len(rows)}
    for key in ("pressure", "states", "heat"):
        values = np.array([row[key] for row in rows])
        independent = max(1.0, 2 * autocorrelation_time(values - values.mean())) if len(values) > 50 else 1.0
        found |= {key: float(values.mean()), f"{key}_error": float(values.std(ddof=1) * np.sqrt(independent / len(values)))}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("runs/electrons"))
    parser.add_argument("--out", type=Path, default=Path("runs/electrons/dynamics"))
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    parser.add_argument("--parts", nargs="+", choices=("NVE", "NVT", "GPAW"), default=["NVE", "NVT", "GPAW"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    settings = tomllib.loads((Path(__file__).parents[1] / "groups" / "settings.toml").read_text())
    model = a.out / "model"
    if not (model / "model.safetensors").exists():
        train([a.data / name for name in FOLDERS], model, ElectronTraining.model_validate({**settings, "validation": 0.0, "seed": 0}))
    result = ResultFile(a.result, {"temperature": TEMPERATURE, "volume": VOLUME, "steps": a.steps, **settings}, ("gpaw",))
    if "NVE" in a.parts and result.find(kind="NVE", seed=a.seed) is None:
        rows = run("NVE", model, a.out, 32, a.steps, 2.0, a.seed)
        result.add(seed=a.seed, **conserved(rows, 32, 2.0))
    if "GPAW" in a.parts and result.find(name="GPAW, structures of EMT") is None:
        result.add(**averaged("GPAW, structures of EMT", gpaw_averages(a.data / SAMPLED)))
    if "NVT" in a.parts and result.find(kind="average", seed=a.seed) is None:
        rows = run("NVT", model, a.out, 16, a.steps, 4.0, a.seed)
        result.add(seed=a.seed, **averaged("dynamics of the model", rows[100:]))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
