"""Spins against Spirit 2.2.0: the same energies, the same equilibrium, and the speed of both on one core.

    python -m venv spirit && spirit/bin/pip install spirit==2.2.0 numpy
    OMP_NUM_THREADS=1 python benchmarks/spins/spirit/run.py --spirit-python spirit/bin/python

Energies: random spins on a lattice with exchange, Dzyaloshinskii-Moriya vectors, anisotropy and field. Equilibrium: simple cubic,
8 x 8 x 8, energy a spin and magnetisation by Monte Carlo here, by dynamics here, by Spirit's dynamics (Depondt) and by its Monte Carlo,
which compares a move's energy with that of the spins before the sweep, and misses. Speed: CPU time on 8 x 8 x 8 and 16 x 16 x 16 spins, in
turns, the best of several. Size: CPU time and memory of up to a million spins with pairs up to 8 Å, here alone.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nucleate.benchmark.result_file import ResultFile
from nucleate.spins.couplings import Couplings, tensor, uniaxial
from nucleate.spins.files.spirit import spirit_text
from nucleate.spins.simulate.dynamics import Dynamics
from nucleate.spins.simulate.fields import energy, fields
from nucleate.spins.simulate.lattice import SpinLattice
from nucleate.spins.simulate.monte_carlo import MonteCarlo
from nucleate.spins.simulate.observables.statistics import jackknife
from nucleate.units import K_B, MU_B

J = 10.0
DAMPING, STEP = 0.3, 1.0
SPIRIT_MU_B = 5.7883817555e-2

SPIRIT = """
import json, sys, time, numpy as np
from spirit import state, system, configuration, simulation, quantities
from spirit.parameters import llg, mc
job = json.loads(sys.stdin.read())
out = {}
with state.State(job["cfg"], quiet=True) as p:
    if job["task"] == "energy":
        s = system.get_spin_directions(p); s[:] = np.array(json.load(open(job["spins"])))
        system.update_data(p)
        # The energy is returned in single precision; fields, at right angles to the spins, in double after a step of no length.
        llg.set_temperature(p, 0.0); llg.set_timestep(p, 1e-15)
        simulation.start(p, simulation.METHOD_LLG, simulation.SOLVER_HEUN, n_iterations=10**9, n_iterations_log=10**9, single_shot=True)
        simulation.n_shot(p, 1)
        out["energy"], out["field"] = system.get_energy(p), np.array(system.get_effective_field(p)).tolist()
    if job["task"] == "mean":
        t, warm, rounds, each = job["temperature"], job["warm"], job["rounds"], job["each"]
        llg.set_temperature(p, t); llg.set_damping(p, job["damping"]); llg.set_timestep(p, job["step"] * 1e-3); mc.set_temperature(p, t)
        configuration.plus_z(p)
        method = (simulation.METHOD_LLG, simulation.SOLVER_DEPONDT) if job["method"] == "llg" else (simulation.METHOD_MC,)
        simulation.start(p, *method, n_iterations=10**9, n_iterations_log=10**9, single_shot=True)
        simulation.n_shot(p, warm)
        found = []
        for _ in range(rounds):
            simulation.n_shot(p, each); system.update_data(p)
            found.append([system.get_energy(p) / job["spins"], float(np.linalg.norm(np.array(system.get_spin_directions(p)).mean(axis=0)))])
        simulation.stop(p); out["series"] = found
    if job["task"] == "speed":
        llg.set_temperature(p, job["temperature"]); llg.set_damping(p, job["damping"]); llg.set_timestep(p, job["step"] * 1e-3)
        mc.set_temperature(p, job["temperature"]); configuration.random(p)
        llg_with = {"heun": simulation.SOLVER_HEUN, "depondt": simulation.SOLVER_DEPONDT, "sib": simulation.SOLVER_SIB}
        methods = {**{k: (simulation.METHOD_LLG, v) for k, v in llg_with.items()}, "mc": (simulation.METHOD_MC,)}
        for name, method in methods.items():
            simulation.start(p, *method, n_iterations=10**9, n_iterations_log=10**9, single_shot=True)
            simulation.n_shot(p, 20)
            t0 = time.process_time(); simulation.n_shot(p, job["steps"])
            out[name] = job["spins"] * job["steps"] / (time.process_time() - t0) / 1e6
            simulation.stop(p)
print("RESULT" + json.dumps(out))
"""


def cubic(dm: float = 0.0) -> Couplings:
    """Simple cubic, nearest neighbours; with D along the bonds if asked."""
    vectors = dm * np.eye(3)
    return Couplings(3 * np.eye(3), np.zeros((1, 3)), ("Fe",), [2.0], [0] * 3, [0] * 3, np.eye(3), tensor(np.full(3, J), vectors))


def ask_spirit(python: str, folder: Path, lattice: SpinLattice, field: tuple[float, float, float] = (0.0, 0.0, 0.0), **job) -> dict:
    cfg = folder / "input.cfg"
    cfg.write_text(spirit_text(lattice.couplings, lattice.size, field))
    given = {"cfg": str(cfg), **job}
    ended = subprocess.run([python, "-c", SPIRIT], input=json.dumps(given), capture_output=True, text=True, check=False, cwd=folder)
    lines = [line for line in ended.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        raise SystemExit(f"Spirit failed: {ended.stderr[-400:]}")
    return json.loads(lines[0].removeprefix("RESULT"))


def energies(python: str, folder: Path) -> None:
    rng = np.random.default_rng(0)
    messy = Couplings(
        np.array([[3.0, 0, 0], [0.4, 3.1, 0], [0, 0.2, 3.3]]), [[0, 0, 0], [1.4, 1.5, 1.6]], ("Fe", "Mn"), [2.0, 3.0],
        [0, 0, 1, 0, 1], [0, 1, 1, 1, 0], [[1, 0, 0], [0, 0, 0], [0, 1, 1], [0, -1, 0], [2, 0, 1]],
        tensor(rng.normal(size=5) * 5, rng.normal(size=(5, 3))), [uniaxial(1.5, np.array([0, 0, 1])), uniaxial(-0.7, np.array([1, 1, 0]))],
    )  # fmt: skip
    field = (1.0, -3.0, 9.0)
    lattice = SpinLattice.build(messy, (4, 3, 5), field)
    worst, single = 0.0, 0.0
    for _ in range(20):
        spins = lattice.random(rng)
        # Spirit counts cells with the first vector fastest.
        ordered = spins.reshape(4, 3, 5, 2, 3).transpose(2, 1, 0, 3, 4).reshape(-1, 3)
        path = folder / "spins.json"
        path.write_text(json.dumps(ordered.tolist()))
        # Spirit's Bohr magneton is an older one.
        theirs_field = tuple(b * MU_B / SPIRIT_MU_B for b in field)
        found = ask_spirit(python, folder, lattice, theirs_field, task="energy", spins=str(path))
        here = energy(lattice, spins)
        field_here = fields(lattice, spins)
        field_here -= (field_here * spins).sum(axis=1, keepdims=True) * spins
        theirs = np.array(found["field"]).reshape(5, 3, 4, 2, 3).transpose(2, 1, 0, 3, 4).reshape(-1, 3)
        worst, single = max(worst, float(np.abs(theirs - field_here).max())), max(single, abs(found["energy"] - here))
    print(
        f"20 random states of {len(lattice)} spins: fields agree to {worst:.1e} meV, energies to {single:.1e} meV (single precision)",
        flush=True,
    )


def equilibrium(python: str, folder: Path, rounds: int) -> None:
    lattice = SpinLattice.build(cubic(), (8, 8, 8))
    n = len(lattice)
    print("| k T / J | heat bath here | dynamics here | Spirit, dynamics | Spirit, Monte Carlo |\n|---|---|---|---|---|")
    for reduced in (0.5, 0.8, 1.1, 1.3):
        t = reduced * J / K_B
        rng = np.random.default_rng(1)
        cells = []
        spins, sampler = lattice.aligned(), MonteCarlo(lattice)
        series = []
        for k in range(2000 + 4 * rounds):
            sampler.run(spins, 1 / (K_B * t), rng, 1, 1)
            if k >= 2000:
                series.append([energy(lattice, spins) / n, np.linalg.norm(spins.mean(axis=0))])
        cells.append(series)
        spins, move, series = lattice.aligned(), Dynamics(lattice, STEP, DAMPING, t), []
        move.run(spins, 5000, rng)
        for _ in range(rounds):
            move.run(spins, 20, rng)
            series.append([energy(lattice, spins) / n, np.linalg.norm(spins.mean(axis=0))])
        cells.append(series)
        job = {"task": "mean", "temperature": t, "rounds": rounds, "spins": n, "damping": DAMPING, "step": STEP}
        cells.append(ask_spirit(python, folder, lattice, **job, method="llg", warm=5000, each=20)["series"])
        cells.append(ask_spirit(python, folder, lattice, **job, method="mc", warm=2000, each=4)["series"])
        text = []
        for series in cells:
            value, error = jackknife(np.array(series), lambda m: m)
            text.append(f"{value[0]:.3f} ± {error[0]:.3f}; {value[1]:.4f} ± {error[1]:.4f}")
        print(f"| {reduced} |", " | ".join(text), "|", flush=True)


def rates(python: str, folder: Path, couplings: Couplings, edge: int, repeats: int, temperature: float = 50.0) -> dict[str, float]:
    """Million spin-steps or updates per CPU-second, the best of several turns."""
    lattice = SpinLattice.build(couplings, (edge, edge, edge))
    steps = 200 * 16**3 // edge**3
    rng, sampler, beta = np.random.default_rng(0), MonteCarlo(lattice), 1 / (K_B * temperature)
    spins = lattice.random(rng)
    heun, implicit = (Dynamics(lattice, STEP, DAMPING, temperature, scheme) for scheme in ("heun", "semi-implicit"))
    work = {
        "heun": lambda k: heun.run(spins, k, rng),
        "semi-implicit": lambda k: implicit.run(spins, k, rng),
        "heat bath": lambda k: sampler.run(spins, beta, rng, k),
        "over-relaxation": lambda k: sampler.run(spins, beta, rng, 0, k),
    }
    for run in work.values():
        run(1)
    best: dict[str, float] = {}
    for _ in range(repeats):
        for label, run in work.items():
            start = time.process_time()
            run(steps)
            best[label] = max(best.get(label, 0.0), len(lattice) * steps / (time.process_time() - start) / 1e6)
        job = {"task": "speed", "temperature": temperature, "damping": DAMPING, "step": STEP, "spins": len(lattice), "steps": steps}
        for key, value in ask_spirit(python, folder, lattice, **job).items():
            best[f"Spirit {key}"] = max(best.get(f"Spirit {key}", 0.0), value)
    return best


PAIRS = 8.0
"""Longest coupling in Å of the lattices whose memory is measured."""
LENGTH = 2.87
RATES = {
    "heun": ("Heun", "Spirit heun"), "semi-implicit": ("semi-implicit", "Spirit sib"), "heat bath": ("heat bath", "Spirit mc"),
    "over-relaxation": ("over-relaxation", "Spirit mc"),
}  # fmt: skip


def centred() -> Couplings:
    """Body-centred cubic with couplings that fall as 1/r^3 up to 8 Å."""
    cell = LENGTH / 2 * np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    line = np.arange(-6, 7)
    shifts = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    # One of both directions of each pair.
    shifts = shifts[[tuple(r) > (0, 0, 0) for r in shifts]]
    distances = np.linalg.norm(shifts @ cell, axis=1)
    kept = distances <= PAIRS
    shifts, n = shifts[kept], int(kept.sum())
    return Couplings(cell, np.zeros((1, 3)), ("Fe",), [2.2], [0] * n, [0] * n, shifts, tensor(20 * (2.5 / distances[kept]) ** 3))


def one(edge: int) -> None:
    """Run a few steps and sweeps of edge^3 spins and print CPU time and memory."""
    lattice = SpinLattice.build(centred(), (edge, edge, edge))
    rng = np.random.default_rng(0)
    spins, steps, row = lattice.random(rng), 5, {"spins": len(lattice), "pairs": 2 * len(lattice.couplings.first)}
    dynamics = Dynamics(lattice, STEP, DAMPING, 300.0)
    sampler = MonteCarlo(lattice)
    work = {"dynamics": lambda: dynamics.run(spins, steps, rng), "heat bath": lambda: sampler.run(spins, 1 / (K_B * 300), rng, steps)}
    for name, run in work.items():
        if edge <= 64:
            run()
        before = time.process_time()
        run()
        row[name] = round(1e6 * (time.process_time() - before) / steps / len(lattice), 4)
    print(json.dumps({**row, "memory": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)}))


def table(data: dict[str, Any]) -> str:
    """Return the tables of the results page."""
    lines = ["| couplings | spins | | nucleate, million per CPU-s | Spirit, million per CPU-s | ratio |", "|---|---|---|---|---|---|"]
    for row in [row for row in data["rows"] if row["task"] == "speed"]:
        for ours, (label, theirs) in RATES.items():
            ratio = row[ours] / row[theirs]
            lines.append(f"| {row['couplings']} | {row['edge'] ** 3} | {label} | {row[ours]:.1f} | {row[theirs]:.2f} | {ratio:.1f} |")
    lines += [
        "",
        "| spins | neighbours of each | dynamics, CPU-µs per spin and step | heat bath, CPU-µs per spin | peak memory, GiB |",
        "|---|---|---|---|---|",
    ]
    for row in sorted((row for row in data["rows"] if row["task"] == "size"), key=lambda row: row["spins"]):
        lines.append(f"| {row['spins']:,} | {row['pairs']} | {row['dynamics']:.2f} | {row['heat bath']:.2f} | {row['memory']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = ["energies", "equilibrium", "speed", "size"]
    parser.add_argument("--spirit-python", required=True)
    parser.add_argument("--rounds", type=int, default=1500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=tasks, default=tasks)
    parser.add_argument("--result", type=Path, default=Path(__file__).with_name("result.json"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        one(a.one)
        return
    python = str(Path(a.spirit_python).absolute())
    result = ResultFile(a.result, {"damping": DAMPING, "step": STEP, "repeats": a.repeats}, ("numba",))
    with tempfile.TemporaryDirectory() as name:
        if "energies" in a.only:
            energies(python, Path(name))
        if "equilibrium" in a.only:
            equilibrium(python, Path(name), a.rounds)
        for label, couplings in (("exchange alone", cubic()), ("with D vectors", cubic(3.0))):
            for edge in (8, 16):
                if "speed" in a.only and result.find(task="speed", couplings=label, edge=edge) is None:
                    best = rates(python, Path(name), couplings, edge, a.repeats)
                    result.add(task="speed", couplings=label, edge=edge, **{key: round(value, 3) for key, value in best.items()})
    for edge in (40, 64, 100):
        if "size" in a.only and result.find(task="size", spins=edge**3) is None:
            command = [sys.executable, __file__, "--spirit-python", a.spirit_python, "--one", str(edge)]
            result.add(task="size", **json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    print(table({"rows": result.rows}))


if __name__ == "__main__":
    main()
